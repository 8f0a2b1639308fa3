"""The guide's manifests are taken as they stand there."""

import re
import textwrap

import pytest
import yaml

from harness.process import ROOT, SluiceProcess, run_cli

BLOCKS = [
    block for block in map(textwrap.dedent, re.findall(
        r"^ *```yaml\n(.*?)^ *```", (ROOT / "docs/GUIDE.md").read_text(), re.S | re.M))
    if block.startswith("apiVersion:")]


def names(block):
    return " ".join(f"{item['kind']}/{item['metadata']['name']}" for item in yaml.safe_load_all(block))


@pytest.mark.parametrize("block", BLOCKS, ids=names)
def test_is_valid(block, tmp_path):
    file = tmp_path / "guide.yaml"
    file.write_text(block)
    result = run_cli(["validate", "-f", file])
    assert result.code == 0 and "warning" not in result.err, result


@pytest.fixture(scope="module")
def bare():
    with SluiceProcess(port_map={80: 8000, 443: 8443, 53: 8053, 3306: 8306}, backends=()) as sluice:
        yield sluice


@pytest.mark.parametrize("block", [block for block in BLOCKS if "kind: Gateway" in block], ids=names)
def test_is_accepted(bare, block):
    objects = list(yaml.safe_load_all(block))
    bare.apply(*objects)
    try:
        for item in objects:
            kind, name = item["kind"], item["metadata"]["name"]
            if "istio" in item["apiVersion"] and kind == "Gateway":
                kind = "IstioGateway"
            assert bare.wait_condition(kind, name, "Accepted")["reason"] == "Accepted"
    finally:
        bare.delete(*objects)
