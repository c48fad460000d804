"""Events that a training reports while it runs, and the callback that receives them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

EventCallback = Callable[[dict[str, Any]], None]

FULL = (errno.ENOSPC, errno.EDQUOT)
