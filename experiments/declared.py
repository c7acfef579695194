"""What params.yaml lists beside what lies in results/: recipes, and transfers of their models."""

from __future__ import annotations

from typing import Any, NamedTuple

from experiments.reading import Reader
from experiments.stages import repro


class Recipe(NamedTuple):
    """One experiment: declared in params.yaml, or found by its results alone."""

    name: str
    dataset: str
    kind: str  # recipe | transfer | found (has results, is not declared)
    has_results: bool


class Declared(Reader):
    """What is to be run, and what of it has results."""

    def params(self) -> dict[str, Any]:
        """params.yaml, {} where it is absent."""
        found = self.read("yaml", ("params.yaml",), "git checkout params.yaml", needed=False)
        return found if isinstance(found, dict) else {}

    def recipes(self) -> list[Recipe]:
        """Declared recipes and transfers in the order of params.yaml, then undeclared folders of results, by name."""
        params, folders = self.params(), self.folders("results")
        listed = [
            Recipe(str(name), str((item or {}).get("dataset", "")), kind, str(name) in folders)
            for kind, section in (("recipe", "recipes"), ("transfer", "transfers"))
            if isinstance(params.get(section), dict)
            for name, item in params[section].items()
            if item is None or isinstance(item, dict)
        ]
        known = {r.name for r in listed}
        return listed + [Recipe(name, "", "found", True) for name in folders if name not in known]

    def recipe_names(self, with_results: bool = True) -> list[str]:
        """Names of the recipes there are, or of those with results alone."""
        return [r.name for r in self.recipes() if r.has_results or not with_results]

    def trained_names(self) -> list[str]:
        """Recipes with results that trained models of their own: a transfer has scores alone."""
        return [r.name for r in self.recipes() if r.has_results and r.kind != "transfer"]

    def transfers(self) -> dict[str, Any]:
        """The rows of `transfers` in params.yaml, by name."""
        found = self.params().get("transfers")
        return {str(name): row for name, row in found.items()} if isinstance(found, dict) else {}

    def source(self, name: str) -> str:
        """The recipe whose models are measured: of a transfer the one that params.yaml names, else the recipe itself."""
        row = self.transfers().get(name)
        return str(row.get("recipe") or name) if isinstance(row, dict) else name

    def scoring(self, name: str) -> str:
        """The command that scores a recipe or a transfer."""
        return repro("transfer" if name in self.transfers() else "evaluate", name)
