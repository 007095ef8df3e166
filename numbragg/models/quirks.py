"""The defects of nanoBragg.c that can be switched on, one by one (register: specs/40-compat.md)."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """Which defects are reproduced; none by default.

    Q15, Q17 and Q24 have no switch (both modes do the same); Q19, Q20 and the rest of Q18 belong to how flags are
    matched.
    """

    q01_phi_carryover: bool = False
    q02_running_factors: bool = False
    q03_last_layer_capture: bool = False
    q04_layer_spacing: bool = False
    q05_water_in_sum: bool = False
    q06_weights_ignored: bool = False
    q07_origin_ignored: bool = False
    q08_beam_centre_ignored: bool = False
    q09_pivot_reset: bool = False
    q10_vectors_dropped: bool = False
    q11_table_dumped: bool = False
    q12_interpolation_stops: bool = False
    q13_misset_in_radians: bool = False
    q14_masked_pixels_in_rmsd: bool = False
    q16_count_without_range: bool = False
    q18_short_cell: bool = False
    q21_triclinic_cell: bool = False
    q22_header_substrings: bool = False
    q23_interpolation_before_size: bool = False
    q25_twotheta_axis_length: bool = False
    q26_volume_of_given_cell: bool = False
    q27_solid_angle_over_steps: bool = False
    q28_single_precision_mosaic: bool = False
    q29_header_near_distance: bool = False
    q30_amplitudes_unused: bool = False
    threads: int = 1
    """Threads of the emulated program: Q01 depends on them."""

    @classmethod
    def all(cls, threads: int = 1) -> "Quirks":
        """Every defect: the reference program as it is."""
        return cls(threads=threads, **{f.name: True for f in fields(cls) if f.name != "threads"})


NO_QUIRKS = Quirks()
