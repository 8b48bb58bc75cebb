"""AREAD with every part of it on and off, as settings: for tests of what is made of one."""

PARTS = {
    "whole": {},
    "no cross network": {"cross_layers": 0},
    "no wide part": {"wide": False},
    "no head of a domain": {"domain_head": False},
    "nothing goes past": {"cross_layers": 0, "wide": False, "domain_head": False},
    "one level": {"experts": (4,)},
    "one layer below": {"bottom_hidden": (5,)},
}
