"""The covering sets that the contract tests stand on."""

from pairwise import crossed, full, pairs_of, pairwise

FACTORS = {"a": [1, 2, 3], "b": ["x", "y"], "c": [True, False], "d": [(1, 2), (3, 4), (5, 6)]}


def test_every_pair_occurs():
    wanted = set().union(*(pairs_of(case, FACTORS) for case in full(FACTORS)))
    chosen = pairwise(FACTORS)
    assert set().union(*(pairs_of(case, FACTORS) for case in chosen)) == wanted
    assert len(wanted) == 6 + 6 + 9 + 4 + 6 + 6
    assert 9 <= len(chosen) <= 12 < len(full(FACTORS))


def test_one_factor_of_one_value_is_kept():
    assert all(case["only"] == 7 for case in pairwise({**FACTORS, "only": [7]}))


def test_what_is_not_possible_is_left_out_and_every_other_pair_occurs():
    def possible(case):
        return not (case["a"] == 1 and case["b"] == "x")

    chosen = pairwise(FACTORS, possible)
    assert all(possible(case) for case in chosen)
    wanted = set().union(*(pairs_of(case, FACTORS) for case in full(FACTORS, possible)))
    assert set().union(*(pairs_of(case, FACTORS) for case in chosen)) == wanted
    assert len(wanted) == 6 + 6 + 9 + 4 + 6 + 6 - 1


def test_chosen_factors_are_crossed_and_the_rest_takes_turns():
    def possible(case):
        return not (case["a"] == 1 and case["b"] == "x")

    chosen = crossed(FACTORS, ["a", "b"], possible)
    assert [(case["a"], case["b"]) for case in chosen] == [(1, "y"), (2, "x"), (2, "y"), (3, "x"), (3, "y")]
    assert {case["c"] for case in chosen} == {True, False} and len({case["d"] for case in chosen}) == 3
    assert all(list(case) == list(FACTORS) for case in chosen)
    never = crossed(FACTORS, ["a"], lambda case: case["a"] != 2)
    assert [case["a"] for case in never] == [1, 3]
