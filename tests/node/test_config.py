"""Every wrong value of the configuration is refused, and the message names its key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from scarseg_infer.node import config as node_config
from scarseg_infer.node.config import read_config
from scarseg_infer.node.main import main
from scarseg_runtime.errors import UsageError

EXAMPLE = Path(node_config.__file__).parent / "deploy" / "scarseg-node.toml"
TLS = '[tls]\ncertificate = "no.pem"\nkey = "node.toml"\nca = "node.toml"\n'
MINIMAL = """
[node]
ae_title = "SCARSEG"
data = "data"
[callers]
ae_titles = ["MR1"]
addresses = ["10.0.0.0/24", "::1"]
"""
QUERY = '[ecg_query]\nae_title = "A"\nhost = "h"\nport = 104\n'
HL7 = '[[hl7]]\nname = "ris"\nhost = "h"\nport = 2575\n'
SELF = '[[peers]]\nname = "me"\nae_title = "A"\nhost = "127.0.0.1"\nport = 11112\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_defaults_and_paths(tmp_path: Path) -> None:
    found = read_config(written(tmp_path, MINIMAL))
    assert (found.node.port, found.node.address, found.status.address) == (
        11112,
        "127.0.0.1",
        "127.0.0.1",
    )
    assert found.node.data == tmp_path / "data"
    assert found.tls is None
    assert found.peers == ()


def test_a_byte_order_mark_of_an_editor_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(MINIMAL, encoding="utf-8-sig")
    assert read_config(tmp_path / "node.toml").node.ae_title == "SCARSEG"


@pytest.mark.parametrize(
    ("address", "admitted"),
    [("10.0.0.7", True), ("::ffff:10.0.0.7", True), ("::1", True), ("10.0.1.7", False),
     ("127.0.0.1", False), ("fe80::1%eth0", False), ("not an address", False)],
)  # fmt: skip
def test_addresses(tmp_path: Path, address: str, admitted: bool) -> None:
    assert read_config(written(tmp_path, MINIMAL)).callers.admit(address) is admitted


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('ae_title = "SCARSEG"', "", "node.ae_title"),
        ('"SCARSEG"', '"A TITLE THAT IS TOO LONG"', "node.ae_title"),
        ('"SCARSEG"', '"BACK\\\\SLASH"', "node.ae_title"),
        ('"SCARSEG"', "5", "node.ae_title"),
        ('data = "data"', 'data = "d\\u0000"', "node.data"),
        ('data = "data"', 'data = "d\\u0085"', "node.data"),
        ('data = "data"', 'data = "data"\nport = 0', "node.port"),
        ('data = "data"', 'data = "data"\nport = true', "node.port"),
        ('data = "data"', 'data = "data"\naddress = "localhost"', "node.address"),
        ('data = "data"', 'data = "data"\nprot = 5', "node.prot"),
        ('["MR1"]', "[]", "callers.ae_titles"),
        ('"10.0.0.0/24"', '"10.0.0.1/24"', "callers.addresses"),
        ("[callers]", "[limits]\nobject_mb = 0\n[callers]", "limits.object_mb"),
        ("[callers]", "[limits]\nidle_s = nan\n[callers]", "limits.idle_s"),
        ("[callers]", '[send]\nobjects = ["nifti"]\n[callers]', "send.objects"),
        ("[callers]", "[send]\nretry_s = 10\nretry_max_s = 5\n[callers]", "send.retry_max_s"),
        ("[callers]", f'{TLS}[callers]', "tls.certificate"),
        ("[callers]", '[model]\nfile = "no.onnx"\n[callers]', "model.file"),
        ("[callers]", '[model]\nfile = "no\\u0000.onnx"\n[callers]', "model.file"),
        ("[callers]", '[[peers]]\nname = "a"\n[callers]', "peers[1].ae_title"),
        ("[callers]", '[[peers]]\nname = "a\\nb"\nae_title = "A"\n[callers]', "peers[1].name"),
        ("[callers]", "[study]\nmpps_wait_s = -1\n[callers]", "study.mpps_wait_s"),
        ("[callers]", f'{QUERY}retrieve = "put"\n[callers]', "ecg_query.retrieve"),
        ("[callers]", f"{QUERY}when = true\n[callers]", "ecg_query.when"),
        ("[callers]", "[status]\non = 1\n[callers]", "status.on"),
        ("[callers]", "[status]\non = false\napi = true\n[callers]", "status.api"),
        ("[callers]", "[status]\nport = 11112\n[callers]", "status.port"),
        ("[callers]", '[model]\nprovider = "gpu"\n[callers]', "model.provider"),
        ("[callers]", '[model]\nprecision = "fp3"\n[callers]', "model.precision"),
        ("[callers]", f'{QUERY}retrieve = "move"\n[callers]', "ecg_query.retrieve"),
        ("[callers]", f"{SELF}[callers]", "peer me"),
        ("[callers]", "[send]\ngive_up_days = 0\n[callers]", "send.give_up_days"),
        ("[callers]", f'{HL7}charset = "EBCDIC"\n[callers]', "hl7[1].charset"),
        ("[callers]", f'{HL7}processing = "X"\n[callers]', "hl7[1].processing"),
        ("[callers]", f'{HL7}facility = "Ä"\n[callers]', "hl7[1].facility"),
        ("[callers]", f'{HL7}application = "a\\rMSH"\n[callers]', "hl7[1].application"),
        ("[callers]", f"{HL7}answer_s = 0\n[callers]", "hl7[1].answer_s"),
        ("[callers]", f"{HL7}tls = true\n[callers]", "hl7[1].tls"),
        ("[callers]", f"{HL7}{HL7}[callers]", "hl7[2].name"),
        ("[callers]", "[colours]\n[callers]", "[colours]"),
        ("[callers]", "callers", "TOML"),
    ],
)  # fmt: skip
def test_wrong_values(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in MINIMAL
    with pytest.raises(UsageError) as caught:
        read_config(written(tmp_path, MINIMAL.replace(old, new, 1)))
    assert key in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[limits]\nassociations = 0", "limits.associations must be a whole number >= 1."),
        ("[limits]\nassociations = 1.5", "limits.associations must be a whole number."),
        ("[limits]\nidle_s = '5'", "limits.idle_s must be a number."),
        ("[status]\nport = 65536", "status.port must be a whole number <= 65535."),
        ("[status]\napi = 1", "status.api must be true or false."),
        ("[send]\nobjects = []", "send.objects must not be empty."),
        ("[send]\nobjects = 'seg'", "send.objects must be a list."),
        ("[send]\nobjects = ['nifti']", "send.objects[1] must be one of: seg, sr, dicom-pdf."),
        ("[send]\nobjects = ['seg', 5]", "send.objects[2] must be a text in quotes."),
        ("[model]\nthreads = 0", "model.threads must be a whole number >= 1."),
        ("[model]\nthreads = '2'", "model.threads must be a whole number."),
        ("[model]\nfile = 5", "model.file must be a text in quotes."),
        ("[ecg_query]\nae_title = 'A'", "ecg_query.host is missing."),
        ("[ecg_query]\nae_title = 'A'\nhots = 'h'", "ecg_query.host is missing. Is ecg_query.hots"),
        ("[[model]]", "[model] is not a table. Write [model] on a line of its own."),
        ("[peers]", "[peers] is not a list of tables. Write [[peers]]."),
        ("[hl7]", "[hl7] is not a list of tables. Write [[hl7]]."),
        ("[[peers]]\nname = 'a'\nport = 0", "peers[1]."),
        ("[study]\nquiet = 5", "study.quiet is not known."),
        ("[colours]", "[colours] is not known. Known: node, callers, limits, study, tls, peers, "),
    ],
)
def test_errors_are_in_words(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(written(tmp_path, f"{MINIMAL}{table}\n"))
    assert str(caught.value).startswith(said)
    assert not re.search(r"[`$]|Expected|Object|array|\bstr\b", str(caught.value))


def test_a_table_that_is_missing_is_told_by_its_key(tmp_path: Path) -> None:
    node, callers = MINIMAL.split("[callers]")
    with pytest.raises(UsageError, match=r"^callers\.ae_titles is missing\."):
        read_config(written(tmp_path, node))
    with pytest.raises(UsageError, match=r"^node\.ae_title is missing\."):
        read_config(written(tmp_path, f"[callers]{callers}"))


@pytest.mark.parametrize("missing", ["pynetdicom", "msgspec"])
def test_a_plain_installation_is_told_of_the_extra_node_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    for name in (missing, "reportlab"):
        monkeypatch.setitem(sys.modules, name, None)
    for more in ([], ["--check"]):
        assert main([*more, str(written(tmp_path, MINIMAL))]) == 2
        said = capsys.readouterr()
        assert re.fullmatch(rf"scarseg-node: {missing} is missing\. .*\[node\].*\n", said.err)
        assert said.out == ""


@pytest.mark.parametrize(
    ("table", "found"),
    [("", (10, 900)), ("retry_s = 1000", (1000, 1000)), ("retry_s = 5\nretry_max_s = 5", (5, 5))],
)
def test_times_between_tries(tmp_path: Path, table: str, found: tuple[float, float]) -> None:
    send = read_config(written(tmp_path, f"{MINIMAL}[send]\n{table}\n")).send
    assert (send.retry_s, send.retry_max_s) == found


def test_objects_are_sent_in_their_order_and_once(tmp_path: Path) -> None:
    text = f"{MINIMAL}[send]\nobjects = ['sr', 'seg', 'sr']\n"
    assert read_config(written(tmp_path, text)).send.objects == ("seg", "sr")


def test_tls_peer_needs_files_and_names_are_unique(tmp_path: Path) -> None:
    peer = '[[peers]]\nname = "a"\nae_title = "A"\nhost = "h"\nport = 104\n'
    with pytest.raises(UsageError, match=r"peers\[1\]\.tls"):
        read_config(written(tmp_path, MINIMAL + peer + "tls = true\n"))
    with pytest.raises(UsageError, match=r"peers\[2\]\.name"):
        read_config(written(tmp_path, MINIMAL + peer + peer))


def test_tls_files_are_looked_into(tmp_path: Path) -> None:
    for name in ("node.pem", "node.key", "ca.pem"):
        (tmp_path / name).write_text("no PEM")
    table = '[tls]\ncertificate = "node.pem"\nkey = "node.key"\nca = "ca.pem"\n'
    assert main(["--check", str(written(tmp_path, MINIMAL + table))]) == 2


def test_results_that_nobody_gets_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", str(written(tmp_path, MINIMAL))]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ok: SCARSEG on 127.0.0.1:11112, 0 peers")
    assert "nobody gets the results" in said.err
    assert main(["--check", str(written(tmp_path, f"{MINIMAL}[status]\napi = true\n"))]) == 0
    said = capsys.readouterr()
    assert "HTTP studies on" in said.out
    assert said.err == ""


def test_a_pdf_that_cannot_be_made_is_found_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "reportlab", None)
    for more in ("", '[send]\nobjects = ["seg", "dicom-pdf"]\n'):
        assert main(["--check", str(written(tmp_path, MINIMAL + more))]) == 2
        said = capsys.readouterr().err
        assert re.search(r"send\.objects .*reportlab.*\[pdf\]", said) and said.count("\n") == 1
    without = f'{MINIMAL}[send]\nobjects = ["seg", "sr"]\n'
    assert main(["--check", str(written(tmp_path, without))]) == 0


@pytest.mark.parametrize(
    ("host", "why"),
    [("pacs 1", "without blanks"), ("pacs\\u0000", "control characters"), ("", "must not be empty"),
     ("a..b", "can be no host name"), ("x" * 64, "can be no host name")],
)  # fmt: skip
def test_hosts(tmp_path: Path, host: str, why: str) -> None:
    peer = f'[[peers]]\nname = "a"\nae_title = "A"\nhost = "{host}"\nport = 104\n'
    with pytest.raises(UsageError, match=rf"peers\[1\]\.host.*{why}"):
        read_config(written(tmp_path, MINIMAL + peer))


def test_example_is_a_configuration() -> None:
    found = read_config(EXAMPLE)
    assert found.peers
    assert found.status.address == "127.0.0.1"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLE.read_text().replace("/var/lib/scarseg-node", str(tmp_path / "data"))
    assert main(["--check", str(written(tmp_path, example))]) == 0
    said = capsys.readouterr()
    wanted = (
        "ok: SCARSEG on 0.0.0.0:11112, 1 peer, status on port 8104, HTTP studies off, model on "
    )
    assert said.out.startswith(wanted)
    assert said.err == ""
    assert not (tmp_path / "data").exists()
    assert main([str(tmp_path / "none.toml")]) == 2
    assert main([str(written(tmp_path, MINIMAL.replace("SCARSEG", "")))]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["scarseg-node"] * 2
    assert str(tmp_path) not in said.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[callers]", '[model]\nprovider = "PROVIDER"\n[callers]', "not installed"),
        ('data = "data"', 'data = "node.toml/data"', "node.data cannot be used"),
        # No folder can be made there, not even by root, whom rights allow everything.
        pytest.param(
            'data = "data"',
            'data = "/proc/data"',
            "node.data cannot be used",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="has no /proc"),
        ),
        ("[callers]", '[model]\nfile = "node.toml"\n[callers]', "model file"),
    ],
)
def test_the_check_finds_what_would_stop_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    old: str, new: str, says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "scarseg_runtime.providers.registry.unusable_reason",
        lambda provider: "not installed" if provider.name == "cuda" else None,
    )
    text = MINIMAL.replace(old, new.replace("PROVIDER", "cuda"))
    assert main(["--check", str(written(tmp_path, text))]) != 0
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [("ae_title =", "ae_titel =", "node.ae_titel"), ("addresses", "adresses", "callers.adresses"),
     ("data =", "date =", "node.date")],
)  # fmt: skip
def test_a_misspelled_key_is_named_where_one_is_missing(
    tmp_path: Path, old: str, new: str, meant: str
) -> None:
    with pytest.raises(UsageError, match=rf"is missing\. Is {meant} a slip"):
        read_config(written(tmp_path, MINIMAL.replace(old, new)))
