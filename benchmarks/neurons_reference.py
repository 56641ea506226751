"""Prints what an independent simulator makes of the neurons: the constants of a test.

    PYTHON benchmarks/neurons_reference.py

``PYTHON`` is the interpreter of an environment of its own (``pip install -r benchmarks/requirements/brian2.txt``). The
equations are those of the papers, written out in Brian 2's own language, and integrated by the classical Runge–Kutta
scheme with steps of a thousandth of a millisecond (or of a unit of time of FitzHugh–Nagumo), at which all the digits
that are printed stand.
"""

from collections.abc import Mapping, Sequence
from math import exp, expm1

from brian2 import Network, NeuronGroup, StateMonitor, ms, prefs

prefs.codegen.target = "numpy"

#: The first values of variables, and those of parameters: a number, or one for each neuron.
Start = Mapping[str, float | Sequence[float]]

#: The cortical cell of sbi's tutorial, with the current and two conductances as parameters.
CORTICAL = """
dv/dt = (g_na*m**3*h*(53 - v) + (g_k*n**4 + 0.07*p)*(-107 - v) + 0.1*(-70 - v) + current)/ms : 1
u = v + 60 : 1
dm/dt = (0.32*(u - 13)/(1 - exp(-(u - 13)/4))*(1 - m) - 0.28*(u - 40)/(exp((u - 40)/5) - 1)*m)/ms : 1
dh/dt = (0.128*exp(-(u - 17)/18)*(1 - h) - 4/(1 + exp(-(u - 40)/5))*h)/ms : 1
dn/dt = (0.032*(u - 15)/(1 - exp(-(u - 15)/5))*(1 - n) - 0.5*exp(-(u - 10)/40)*n)/ms : 1
dp/dt = (1/(1 + exp(-(v + 35)/10)) - p)*(3.3*exp((v + 35)/20) + exp(-(v + 35)/20))/600/ms : 1
current : 1
g_na : 1
g_k : 1
"""

#: The NaKL neuron, under 20 µA/cm² from the start on.
NAKL = """
dv/dt = (120*m**3*h*(50 - v) + 20*n**4*(-77 - v) + 0.3*(-54.4 - v) + 20)/ms : 1
a = tanh((v + 40)/15) : 1
b = tanh((v + 60)/(-15)) : 1
c = tanh((v + 55)/30) : 1
dm/dt = ((1 + a)/2 - m)/(0.1 + 0.4*(1 - a**2))/ms : 1
dh/dt = ((1 + b)/2 - h)/(1 + 7*(1 - b**2))/ms : 1
dn/dt = ((1 + c)/2 - n)/(1 + 5*(1 - c**2))/ms : 1
"""

#: FitzHugh–Nagumo in both forms; a millisecond stands for a unit of time.
FITZHUGH = """
dv/dt = (v - v**3/3 - w + 0.5)/ms : 1
dw/dt = 0.08*(v + 0.7 - 0.8*w)/ms : 1
"""
RAMSAY = """
dv/dt = 3*(v - v**3/3 + r)/ms : 1
dr/dt = -(v - 0.1 + 0.5*r)/3/ms : 1
"""


def trajectory(equations: str, start: Start, until: float, every: float, before: float = 0.0) -> StateMonitor:
    """The states from a start to a time, ``every`` so many units; ``before`` some time without a current."""
    group = NeuronGroup(2 if "current" in start else 1, equations, method="rk4", dt=0.001 * ms)
    for name, value in start.items():
        setattr(group, name, value)
    names = [line.split("/")[0][1:] for line in equations.splitlines() if "/dt" in line[:8]]
    monitor = StateMonitor(group, names, record=True, dt=every * ms)
    network = Network(group, monitor)
    if before:
        group.current = 0.0
        network.run(before * ms)
        group.current = start["current"]
    network.run((until - before + 0.5 * every) * ms)
    return monitor


def show(title: str, monitor: StateMonitor, first: int = 0) -> None:
    """Prints the states of all neurons from a time on."""
    print(title)
    for neuron in range(len(monitor.record)):
        for name in monitor.record_variables:
            print(f"  {name}[{neuron}] =", [round(float(value), 7) for value in getattr(monitor, name)[neuron][first:]])


def rest(v: float) -> dict[str, float]:
    """The cortical cell with its gates at their fixed points."""
    u = v + 60
    m = 0.32 * (u - 13) / -expm1(-(u - 13) / 4), 0.28 * (u - 40) / expm1((u - 40) / 5)
    h = 0.128 * exp(-(u - 17) / 18), 4 / (1 + exp(-(u - 40) / 5))
    n = 0.032 * (u - 15) / -expm1(-(u - 15) / 5), 0.5 * exp(-(u - 10) / 40)
    fixed = {name: opens / (opens + closes) for name, (opens, closes) in {"m": m, "h": h, "n": n}.items()}
    return {"v": v, **fixed, "p": 1 / (1 + exp(-(v + 35) / 10))}


if __name__ == "__main__":
    cells = {"g_na": [50.0, 20.0], "g_k": [5.0, 1.0], "current": 3.2480601}
    show("cortical, from 16 ms on", trajectory(CORTICAL, {**rest(-70.0), **cells}, 24.0, 0.5, before=10.0), 32)
    show("NaKL", trajectory(NAKL, {"v": -70.0, "m": 0.05, "h": 0.6, "n": 0.4}, 8.0, 0.5))
    show("FitzHugh", trajectory(FITZHUGH, {"v": -1.0, "w": 1.0}, 40.0, 2.0))
    show("Ramsay", trajectory(RAMSAY, {"v": -1.0, "r": 1.0}, 20.0, 1.0))
