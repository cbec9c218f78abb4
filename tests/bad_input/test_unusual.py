"""Sound files that are unusual, checked and run as a user would."""

from tests.bad_input.conftest import HEAD


def test_a_measure_of_an_experiment_that_reads_an_unedited_pass(folder):
    folder.write(
        f"{HEAD}experiment base {{ measure z = ld(clean) }}\nexperiment uses {{ measure up = base.z * 2 }}\n"
    )
    assert folder.check() == []
    assert folder.run("run", "x.gbx", "--db", "r.duckdb", "--quiet").code == 0
    both = "SELECT sum(up.value) / sum(z.value) AS twice FROM uses.up JOIN base.z USING (item)"
    assert folder.run("query", "r.duckdb", both, "--format", "csv").out.split()[1].startswith("2")
