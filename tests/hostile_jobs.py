"""Jobs for tests of the sandbox: raw Python in the confined child, as if the candidate language had been escaped."""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import pickle
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from actlab.activations import program_source
from actlab.lab.training_view import TrainingView
from actlab.scoring import messages, worker

# An attacker's kit: a confined child can import nothing that was not loaded before.
KIT = {
    module.__name__: module
    for module in (
        ctypes, gc, json, messages, mmap, os, pickle, platform, re, resource, signal, socket,
        subprocess, sys, threading, time, torch,
    )
}  # fmt: skip
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def system_call(number: int, *arguments: int) -> int:
    """A system call by its number, past every function of Python's.

    Raises:
        OSError: where it is refused.
    """
    came = LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if came == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return came


def python(request: Mapping[str, str], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> worker.Answer:
    """Runs `request["source"]` with the kit; answers with the `head` and the `out` that it leaves."""
    kit = {name.rpartition(".")[2]: module for name, module in KIT.items()}
    scope = {**kit, "np": np, "libc": LIBC, "call": system_call, "data": data, "head": {}, "out": []}
    exec(request["source"], scope)
    return scope["head"], scope["out"]


def warm_up() -> None:
    """Loads what the honest jobs of the tests need."""
    torch.set_num_threads(1)
    worker.describe({"source": program_source("gelu")}, [], {})


JOBS = {"python": python, **worker.JOBS}
