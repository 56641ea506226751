"""Equations as programs, and their derivatives."""

import pytest

from posterity.systems.equations.expressions import traced


def run(program, fields, thetas, sites, site):
    """What a program gives at a site of a ring, in floating-point numbers."""
    done = []
    for operation, *arguments in program.instructions:
        if operation == "number":
            done.append(arguments[0])
        elif operation == "input":
            field, channel, offset = arguments
            done.append(fields[field][channel][(site + offset) % sites])
        elif operation == "parameter":
            done.append(thetas[arguments[0]][arguments[1]])
        else:
            a, b = (done[place] for place in arguments)
            done.append({"fadd": a + b, "fsub": a - b, "fmul": a * b, "fdiv": a / b if b else None}[operation])
    return [done[place] for place in program.outputs]


def predators(state, parameters):
    """Prey and predators that wander: all operations, numbers on both sides, and neighbours."""
    growth, death = parameters
    prey, hunters = state[0, 0], state[1, 0]
    wander = state[1, 1] - 2 * hunters + state[1, -1]
    return growth * prey * (1 - prey**3 / 2) - prey * hunters / (1 + prey), wander * 0.5 + hunters / (
        2 + death
    ) - -death


def test_programs_compute_the_equations():
    equations = traced("Predators", predators, 2, 2)
    x, theta = [[0.3, 0.5, 0.9], [0.2, 0.1, 0.7]], [1.5, 0.4]
    found = run(equations.value, [x], [theta], 3, 2)
    prey, hunters, wander = 0.9, 0.7, 0.2 - 1.4 + 0.1
    expected = [
        1.5 * prey * (1 - prey**3 / 2) - prey * hunters / (1 + prey), wander * 0.5 + hunters / 2.4 + 0.4,
    ]  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-14)
    assert equations.reach == 1


def test_repeated_terms_are_computed_once_and_zeros_not_at_all():
    equations = traced("Square", lambda state, _: [(state[0, 0] + 1) * (state[0, 0] + 1) + 0 * state[0, 5]], 1, 0)
    assert [row[0] for row in equations.value.instructions] == ["input", "number", "fadd", "fmul"]
    assert equations.reach == 0


def test_each_channel_needs_a_tendency():
    with pytest.raises(ValueError, match="1 tendencies for 2 channels"):
        traced("Short", lambda state, _: [state[0, 0]], 2, 0)


@pytest.mark.parametrize("power", [0.5, -1, 0])
def test_powers_are_whole(power):
    with pytest.raises(TypeError):
        traced("Root", lambda state, _: [state[0, 0] ** power], 1, 0)
