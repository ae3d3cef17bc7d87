"""The generator's VAE: an `AutoencoderTiny` of factor 4 with 4 latent channels.

Recipe: L1 + 0.5 MSE + 0.4 L1 of gradients, object pixels five times, noise on the latents, Muon. Scenes are drawn as
they are needed. The measured scale of the latents goes into the config (``scaling_factor``), not into the weights.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderTiny
from scipy.ndimage import binary_dilation

from picto.recipes import training
from picto.scenes import draw_portrait
from picto.seeds import scene_rng
from pipeline.backends.precision import fast_autocast

BATCH = 8
NOISE = 0.15
OBJECT_WEIGHT = 4.0


def build() -> AutoencoderTiny:
    """Build the untrained model (0.35 M parameters)."""
    return AutoencoderTiny(
        in_channels=3, out_channels=3, latent_channels=4,
        encoder_block_out_channels=(32, 32, 32), decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(0, 2, 2), num_decoder_blocks=(2, 2, 1), scaling_factor=1.0,
    )


def draw_batch(start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw portraits ``start``... for the generator: pictures (B, 3, H, W) in -1..1, weights (B, 1, H, W)."""
    scenes = [draw_portrait(scene_rng("generator", i)) for i in range(start, start + count)]
    pictures = np.stack([s.picture for s in scenes])
    near = np.stack([binary_dilation(s.things[0].mask, iterations=2) for s in scenes])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x, 1 + OBJECT_WEIGHT * torch.from_numpy(near)[:, None].float()


def reconstruction_loss(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted L1 + 0.5 MSE + 0.4 L1 between the pictures' horizontal and vertical differences."""
    diff = out - x
    edges = (diff.diff(dim=-1).abs() * weight[..., 1:]).mean() + (diff.diff(dim=-2).abs() * weight[..., 1:, :]).mean()
    return (weight * (diff.abs() + 0.5 * diff.square())).mean() + 0.4 * edges


def train(steps: int, lr: float = 3e-3) -> None:
    """Train and save; resumes from its checkpoint."""
    torch.manual_seed(0)
    log = training.Log("autoencoder")
    vae = build()
    optimiser = training.MuonAdamW(
        vae.named_parameters(), lr=lr, lr_rest=lr, rest=("encoder.layers.0", "decoder.layers.0.")
    )
    ema = training.Ema(vae, 0.998)
    noise = torch.Generator().manual_seed(1)
    start = 0
    if state := training.load_checkpoint("autoencoder"):
        vae.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema.shadow = state["ema"]
        start = state["step"]
    for step in range(start, steps):
        x, weight = draw_batch(step * BATCH, BATCH)
        with fast_autocast():
            z = vae.encoder(x)
            level = NOISE * z.detach().float().std() * torch.rand(BATCH, 1, 1, 1, generator=noise)
            out = vae.decoder(z + level * torch.randn(z.shape, generator=noise))
        loss = reconstruction_loss(out.float(), x, weight) + 0.002 * z.float().square().mean()
        loss.backward()
        optimiser.step(training.trapezoid(step, steps))
        ema.update(vae, step)
        if step % 200 == 199 or step == steps - 1:
            psnr = -10 * ((out.float() - x) / 2).square().mean().log10()
            log.write(step=step + 1, loss=round(loss.item(), 4), psnr=round(psnr.item(), 2))
            training.save_checkpoint(
                "autoencoder", {"model": vae.state_dict(), "optimiser": optimiser.state_dict(), "ema": ema.shadow,
                                "step": step + 1}
            )
    ema.swap(vae)
    vae.eval()
    with torch.no_grad():
        x, weight = draw_batch(9_000_000, 256)
        z = vae.encode(x).latents
        error = ((vae.decode(z).sample - x) / 2).square()
        thing = (weight > 1).expand_as(error)
        log.write(
            held_out_psnr=round(float(-10 * error.mean().log10()), 2),
            object_psnr=round(float(-10 * error[thing].mean().log10()), 2),
            latent_mean=z.mean((0, 2, 3)).tolist(), latent_std=z.std((0, 2, 3)).tolist(),
        )
    vae.register_to_config(scaling_factor=round(1 / float(z.std()), 4))
    vae.save_pretrained(training.WEIGHTS / "generator" / "vae")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(4000)
