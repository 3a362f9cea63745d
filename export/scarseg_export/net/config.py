"""Sizes and bounds of the network."""

from __future__ import annotations

from dataclasses import dataclass

from scarseg_runtime.contract import LEADS


@dataclass(frozen=True)
class NetworkConfig:
    """Everything needed to build the network again; stored in checkpoints."""

    coarse_size: int = 128
    coarse_spacing_mm: float = 3.0
    close_size: int = 80
    close_spacing_mm: float = 2.0
    crop_size: int = 96
    crop_spacing_mm: float = 1.5
    localiser_widths: tuple[int, ...] = (8, 16, 24, 32, 48)
    fine_widths: tuple[int, ...] = (16, 32, 48, 64, 96)
    scar_width: int = 16
    fusion_width: int = 16
    image_ceiling: float = 2.0
    """Largest scar logit of the image alone, so that an ECG can take away what looks like scar."""
    delta_max: float = 4.0
    """Largest change of the scar logit by the ECG: down, where the image shows little scar."""
    delta_scarred: float = 0.4
    """The same up, and where the image shows much."""
    agreement_gate: float = 1.0
    """Share of that which is withheld where ECG and image surely do not fit one patient."""
    mix_up_share: float = 0.5
    """Share of studies that are taken to come with another patient's ECG, as where that is learned.
    With 0.1 fewer false scars are left and more true ones lost (model card)."""
    initial_tau_days: float = 480.0
    ecg_leads: tuple[str, ...] = LEADS
    """Order in which the ECG encoder wants the leads; the graph's input has the contract's."""

    @property
    def crop_mm(self) -> float:
        return self.crop_size * self.crop_spacing_mm
