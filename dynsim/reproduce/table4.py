"""Table 4: convolution by the k² and the 2k policy."""

from __future__ import annotations

from dynsim.reproduce import lenet
from dynsim.reproduce.study import Sample, Study, percent
from dynsim.reproduce.table import Table, paired

# (FC copies, conv copies): (parameters in thousands, accuracy) in print, by k² and by 2k.
PRINTED = {
    (5, 5): ((6.27, 99.15), (3.97, 99.16)),
    (5, 8): ((7.99, 99.19), (4.32, 99.20)),
    (7, 7): ((8.65, 99.24), (5.43, 99.24)),
    (8, 5): ((8.11, 99.22), (5.81, 99.23)),
}


def table4(study: Study, seeds: int, quick: bool) -> list[Table]:
    """The two policies on LeNet-5."""
    p = lenet.plan(quick)
    units = lenet.baseline_units(seeds, p)
    for seed in range(seeds):
        for row in PRINTED:
            for policy in ("k2", "2k"):
                units += lenet.form_units(seed, p, row, policy)
    found = study.run("LeNet-5: two policies", units)
    table = Table(
        "table4",
        f"Convolution by k² and 2k on LeNet-5, {seeds} seeds, test accuracy in %",
        "Pei & Wang, ICML 2023, Table 4",
        "'disk' counts a d-vector as one number, as print does; 'numbers' is what is stored. Print seems to leave out "
        "conv1's 150 weights.",
        ("policy", "FC, conv", "numbers", "disk", "printed", "FIXED", "UNFIXED", "printed "),
    )
    for row, printed in PRINTED.items():
        moved: list[Sample] = []
        for policy, (count, accuracy) in zip(("k2", "2k"), printed):
            names = [lenet.fixed_name(row, s, policy) for s in range(seeds)]
            moved.append(percent(found[f"un{n}-physics"] for n in names))
            one = found[names[0]]
            cells = one["parameters"], one["disk"], f"{count:.2f}k", percent(found[n] for n in names)
            table.rows.append((policy, str(row), *cells, moved[-1], accuracy))
        table.verdict.append(f"{row}: 2k minus k², seed by seed: {paired(moved[1], moved[0])} points.")
    return [table]
