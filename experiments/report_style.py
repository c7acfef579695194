"""How the report looks: one sheet for light, dark, a phone and paper. Series colours are close to those of Okabe & Ito (2008)."""

STYLE = """
:root {
  --paper: #ffffff; --ink: #1c2430; --soft: #5a6675; --rule: #dfe4ea; --tint: #f5f7fa; --good: #0a7a55; --bad: #b3401d; --link: #0060a0;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b98900; --c5: #2f94cf;
  --c6: #8c6d31; --c7: #7a8491; --c8: #7a5ab5; --c9: #a33a4f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181e; --ink: #e6e9ee; --soft: #9aa6b4; --rule: #313945; --tint: #1c222a; --good: #4cc79a; --bad: #ff9066; --link: #77bdf0;
    --c0: #4aa8e8; --c1: #ff8a3d; --c2: #35c79b; --c3: #e39cc4; --c4: #e9b949; --c5: #8fd0f7;
    --c6: #c7a566; --c7: #97a1ae; --c8: #b39ae6; --c9: #e07f92;
  }
}
* { box-sizing: border-box }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--paper); color: var(--ink) }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
body > * { max-width: 70rem; margin-inline: auto; padding-inline: 1.25rem }
header { padding-top: 2.5rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.015em }
h2 { font-size: 1.35rem; margin: 3rem 0 .4rem; padding-top: .9rem; border-top: 1px solid var(--rule); letter-spacing: -.01em }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .3rem }
h4 { font-size: .95rem; margin: 1.2rem 0 .2rem; color: var(--soft); font-weight: 600 }
p { margin: .4rem 0; max-width: 46rem }
a { color: var(--link); text-decoration: none } a:hover { text-decoration: underline }
h1, h2, h3, h4, p, td, th, summary, li, figcaption { overflow-wrap: anywhere }
.lead { font-size: 1.08rem } .soft, figcaption, .none { color: var(--soft); font-size: .88rem } .none { font-style: italic }
.up { color: var(--good); font-weight: 600 } .down { color: var(--bad); font-weight: 600 }
nav { margin-top: 1rem } nav a { display: inline-block; margin: 0 1rem .25rem 0; font-size: .92rem }
code, pre { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }
code { background: var(--tint); border: 1px solid var(--rule); border-radius: 4px; padding: .05em .35em; overflow-wrap: anywhere }
.card { border: 1px solid var(--rule); border-radius: 10px; padding: 1.1rem 1.3rem; margin: 1rem 0; background: var(--tint) }
.card h3 { margin-top: 0 } .card .scroll { margin-bottom: 0 }
.big { font-size: 2.6rem; font-weight: 650; line-height: 1.15; letter-spacing: -.02em; font-variant-numeric: tabular-nums }
.big small { font-size: 1rem; font-weight: 400; color: var(--soft); letter-spacing: 0; margin-left: .5rem }
.note { border-left: 4px solid var(--c0); background: var(--tint); padding: .6rem 1rem; margin: .8rem 0; border-radius: 0 6px 6px 0 }
.note p { margin: .2rem 0 } .warn { border-left-color: var(--c1) }
.scroll { overflow-x: auto; margin: .7rem 0 }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; min-width: 20rem }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem }
th, td { text-align: left; padding: .34rem .9rem .34rem 0; border-bottom: 1px solid var(--rule); vertical-align: middle }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; overflow-wrap: normal }
td { min-width: 3.2rem; overflow-wrap: break-word } td:not(.n) { min-width: 6.5rem } td:first-child { max-width: 24rem }
td.n, th.n { text-align: right; white-space: nowrap } td.n + td:not(.n), th.n + th:not(.n) { padding-left: .6rem }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: .5rem 2rem; align-items: start }
.facts { display: flex; flex-wrap: wrap; gap: 0 3rem }
.trio { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: .5rem 1.5rem; align-items: start }
figure { margin: .6rem 0; min-width: 0 } figcaption { margin-top: .2rem; max-width: 40rem }
figure img { width: 100%; max-width: 36rem; height: auto; image-rendering: pixelated }
figure img { border: 1px solid var(--rule); border-radius: 4px; background: #fff }
details { margin: .5rem 0 } summary { cursor: pointer; color: var(--link); font-size: .92rem }
footer { margin-top: 3rem; padding-bottom: 2.5rem; color: var(--soft); font-size: .88rem }
svg { max-width: 100%; height: auto; display: block } svg.mini { width: 170px; min-width: 120px; max-width: none }
svg text.t { font-size: 11.5px; fill: var(--ink) } svg text.name { fill: var(--soft) }
svg text.place { font-size: 15px; font-weight: 700; stroke: var(--paper); stroke-width: 4px; paint-order: stroke; stroke-linejoin: round }
.grid { stroke: var(--rule); stroke-width: 1 } .axis { stroke: var(--soft); stroke-width: 1 }
.zero { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 3 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .whisker { stroke-width: 2 } .dot { stroke: none } .bar { fill: var(--c0) }
.band { opacity: .16; stroke: none } circle.faint { opacity: .35 } circle.pale { fill: var(--soft); opacity: .5 }
line.s0, polyline.s0 { stroke: var(--c0) } circle.s0, polygon.s0 { fill: var(--c0) }
line.s1, polyline.s1 { stroke: var(--c1) } circle.s1, polygon.s1 { fill: var(--c1) }
line.s2, polyline.s2 { stroke: var(--c2) } circle.s2, polygon.s2 { fill: var(--c2) }
line.s3, polyline.s3 { stroke: var(--c3) } circle.s3, polygon.s3 { fill: var(--c3) }
line.s4, polyline.s4 { stroke: var(--c4) } circle.s4, polygon.s4 { fill: var(--c4) }
line.s5, polyline.s5 { stroke: var(--c5) } circle.s5, polygon.s5 { fill: var(--c5) }
line.s6, polyline.s6 { stroke: var(--c6) } circle.s6, polygon.s6 { fill: var(--c6) }
line.s7, polyline.s7 { stroke: var(--c7) } circle.s7, polygon.s7 { fill: var(--c7) }
line.s8, polyline.s8 { stroke: var(--c8) } circle.s8, polygon.s8 { fill: var(--c8) }
line.s9, polyline.s9 { stroke: var(--c9) } circle.s9, polygon.s9 { fill: var(--c9) }
.key { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .35em }
@media (max-width: 40rem) {
  body { font-size: 15px } body > * { padding-inline: .9rem } h1 { font-size: 1.6rem }
  .card { padding: .8rem .9rem } .big { font-size: 2.1rem }
  .big small { display: block; margin: 0 }
}
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --tint: #fff }
  body { font-size: 10.5pt } body > * { max-width: none; padding-inline: 0 } nav { display: none }
  figure, .card, tr, .note { break-inside: avoid } h2, h3, h4 { break-after: avoid } .scroll { overflow: visible }
  details::details-content { content-visibility: visible; block-size: auto; height: auto }
  table { font-size: 8pt; min-width: 0 } th, td { padding-right: .4rem } td:not(.n) { min-width: 0 } svg.mini { width: 110px; min-width: 0 }
}
"""
