"""MAMDR with plain gradient steps on logistic regression, as its algorithms 1 to 3 are written.

``data[d]`` is (x [N, 2], y [N]) of a domain, all of it one batch; numpy alone.
"""

import numpy as np


def step(theta, data, lr):
    x, y = data
    p = 1 / (1 + np.exp(-(x @ theta)))
    return theta - lr * x.T @ (p - y) / len(y)


def negotiation(theta_s, data, order, lr, rate):
    theta = theta_s
    for domain in order:
        theta = step(theta, data[domain], lr)
    return theta_s + rate * (theta - theta_s)


def regularisation(theta_s, deltas, data, plan, lr, rate):
    deltas = dict(deltas)
    for domain, helpers in plan:
        for helper in helpers:
            start = theta_s + deltas[domain]
            end = step(step(start, data[helper], lr), data[domain], lr)
            deltas[domain] = deltas[domain] + rate * (end - start)
    return deltas
