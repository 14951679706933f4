"""``sekimori keys``: made, trusted, checked."""

from pathlib import Path

from click.testing import CliRunner, Result

from pipeline.cli import main


def call(*arguments: str | Path, **env: str) -> Result:
    return CliRunner(env={"SEKIMORI_SETTINGS": None, **env}).invoke(main, list(map(str, arguments)))


def test_a_key_is_made_trusted_and_checked(tmp_path: Path) -> None:
    key, trusted = tmp_path / "hana-2026.pem", tmp_path / "trusted.toml"
    made = call("keys", "new", key, "--role", "operator")
    assert made.exit_code == 0, made.output
    trusted.write_text(made.stdout)
    both = {"SEKIMORI_SIGNING_KEY": str(key), "SEKIMORI_TRUSTED_KEYS": str(trusted)}
    checked = call("keys", "check", **both)
    assert (checked.exit_code, checked.stdout.splitlines()) == (
        0,
        ["hana-2026: trusted as operator", "hana-2026 signs here, and is obeyed as operator."],
    )
    other = call("keys", "new", tmp_path / "detect-1.pem", "--role", "detect")
    trusted.write_text(other.stdout)
    refused = call("keys", "check", **both)
    assert refused.exit_code == 1
    assert "hana-2026 is not among the trusted keys" in refused.stderr
    trusted.write_text(other.stdout + refused.stderr.partition(":\n")[2])
    assert call("keys", "check", **both).exit_code == 0


def test_what_is_not_set_is_told(tmp_path: Path) -> None:
    told = call("keys", "check")
    assert told.exit_code == 0
    assert "SEKIMORI_TRUSTED_KEYS is not set: here whatever the topics say is obeyed." in told.stdout
    assert "SEKIMORI_SIGNING_KEY is not set: nothing is signed here." in told.stdout


def test_what_cannot_be_is_refused_clearly(tmp_path: Path) -> None:
    key = tmp_path / "a.pem"
    call("keys", "new", key, "--role", "detect")
    again = call("keys", "new", key, "--role", "detect")
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    for arguments, env, why in (
        (["keys", "new", tmp_path / "b.pem"], {}, "--role"),
        (["keys", "new", tmp_path / "b c.pem", "--role", "detect"], {}, "is no name of a key"),
        (["keys", "new", tmp_path / "no" / "b.pem", "--role", "detect"], {}, "No such file or directory"),
        (["keys", "check"], {"SEKIMORI_TRUSTED_KEYS": str(key)}, "is no list of trusted keys"),
        (["decisions", "list"], {"SEKIMORI_TRUSTED_KEYS": str(key)}, "is no list of trusted keys"),
        (["run", "detect"], {"SEKIMORI_SIGNING_KEY": str(tmp_path / "none.pem")}, "there is no file"),
        (["run", "enforce", "--policy", "127.0.0.1:0"], {"SEKIMORI_TRUSTED_KEYS": str(key)}, "is no list of trusted"),
    ):
        refused = call(*arguments, **env)
        assert refused.exit_code != 0
        assert why in refused.stderr
        assert "Traceback" not in refused.output


def test_a_detector_that_nobody_would_obey_does_not_start(tmp_path: Path) -> None:
    made = call("keys", "new", tmp_path / "detect-1.pem", "--role", "detect")
    (tmp_path / "trusted.toml").write_text(made.stdout)
    refused = call("run", "detect", SEKIMORI_TRUSTED_KEYS=str(tmp_path / "trusted.toml"))
    assert refused.exit_code == 1
    assert "SEKIMORI_SIGNING_KEY: is missing" in refused.stderr


def test_a_key_that_everybody_can_read_is_told_of(tmp_path: Path) -> None:
    key = tmp_path / "a.pem"
    call("keys", "new", key, "--role", "detect")
    assert "holds a secret" not in call("keys", "check", SEKIMORI_SIGNING_KEY=str(key)).stderr
    key.chmod(0o644)
    assert "holds a secret" in call("keys", "check", SEKIMORI_SIGNING_KEY=str(key)).stderr
