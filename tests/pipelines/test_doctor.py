"""`maestro doctor` reports what is wrong instead of crashing on it."""

from pipelines import doctor


def test_a_healthy_machine_passes(tmp_path):
    findings = list(doctor.check(tmp_path))
    assert {finding.name for finding in findings} >= {"packages", "compute", "train, save, load"}
    assert [finding for finding in findings if not finding.ok] == []


def test_a_full_disk_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED_GB", 1e9)
    finding = next(finding for finding in doctor.check(tmp_path) if finding.name == "disk")
    assert not finding.ok and "make room" in finding.detail
