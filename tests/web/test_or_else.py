"""A session that fails, as where the graphics processor is taken away: the other one computes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
SCRIPT = """
import { orElse } from "./or_else.mjs";
let lost = false;
const fast = { provider: "webgpu", gate: "open",
  run: async () => { if (lost) throw new Error("device lost"); return { by: "fast" }; } };
const sure = { provider: "wasm", gate: "", run: async (inputs) => ({ by: "sure", ...inputs }) };
const session = orElse(fast, sure);
const found = [];
for (lost of [false, true, false])
  found.push([(await session.run({ image: 7 })), session.provider, session.gate]);
console.log(JSON.stringify(found));
"""


def test_the_other_session_computes_what_the_first_failed_on(web: Any, tmp_path: Path) -> None:
    esbuild = web.folder / "node_modules" / "esbuild" / "bin" / "esbuild"
    source = web.folder / "page" / "or-else.ts"
    built = f"--outfile={tmp_path / 'or_else.mjs'}"
    subprocess.run(["node", esbuild, source, "--format=esm", built], check=True)
    (tmp_path / "run.mjs").write_text(SCRIPT)
    done = subprocess.run(["node", tmp_path / "run.mjs"], check=True, capture_output=True)
    first, failed, again = json.loads(done.stdout)
    assert first == again == [{"by": "fast"}, "webgpu", "open"]
    assert failed == [{"by": "sure", "image": 7}, "wasm", "open"]
