"""The generator: a `StableDiffusionPipeline` with its own text encoder and UNet, trained on captioned portraits.

Recipe: v-prediction on a squared-cosine schedule with zero terminal SNR, loss weight 1 / (1 + SNR / 8), object area
weighted five times, stratified timesteps, attributes of the caption dropped at random, Muon, EMA, bf16 autocast.
The text encoder is trained with the UNet. Run it again and it goes on from its checkpoint;
``torchrun --nproc-per-node N -m picto.recipes.diffusion`` shares each step among N processes.
"""

from __future__ import annotations

import argparse
import copy
import os

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import distributed, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from picto.pen import COLOURS
from picto.recipes import training
from picto.recipes.tokenizer import MAX_TOKENS, all_captions, build_tokenizer
from picto.scenes import BACKGROUNDS, SIZES, draw_portrait
from picto.seeds import scene_rng
from picto.things import FOLD_CLASSES
from pipeline.backends.precision import fast_autocast

SCENES = 60_000
BATCH = 64
DROP = {"kind": 0.15, "colour": 0.15, "background": 0.15, "size": 0.5}
DROP_CAPTION = 0.1
OBJECT_WEIGHT = 4.0
PEAK, PEAK_REST = 2.5e-3, 1.75e-3


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of training and sampling."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True,
    )


def build_models(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, UNet2DConditionModel]:
    """Build the untrained text encoder (0.3 M parameters) and UNet (4.0 M)."""
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, projection_dim=128,
            num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(32, 64, 128), layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=128, attention_head_dim=32, norm_num_groups=8,
        addition_embed_type="text", addition_embed_type_num_heads=4,
    )
    return text, unet


class Captions:
    """Token ids of every caption, looked up by attribute numbers (class, kind, colour, background, size)."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._names = list(FOLD_CLASSES)
        table = all_captions()
        ids = tokenizer(
            list(table.values()), padding="max_length", max_length=MAX_TOKENS, return_tensors="pt"
        ).input_ids
        self._ids = torch.zeros(len(self._names), 3, len(COLOURS) + 1, len(BACKGROUNDS) + 1, len(SIZES) + 1,
                                MAX_TOKENS, dtype=torch.long)
        for key, row in zip(table, ids, strict=True):
            self._ids[tuple(self.numbers(*key))] = row
        self.empty = tokenizer("", padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids[0]

    def numbers(
        self, name: str, kind: str | None, colour: str | None, background: str | None, size: str | None
    ) -> list[int]:
        """Give the attribute numbers of a scene; 0 = not said."""
        return [
            self._names.index(name),
            1 + list(FOLD_CLASSES[name]).index(kind) if kind else 0,
            1 + list(COLOURS).index(colour) if colour else 0,
            1 + list(BACKGROUNDS).index(background) if background else 0,
            1 + list(SIZES).index(size) if size else 0,
        ]

    def draw(self, numbers: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Caption a batch (B, 5), leaving attributes out at random: token ids (B, MAX_TOKENS)."""
        drop = torch.tensor([0.0, DROP["kind"], DROP["colour"], DROP["background"], DROP["size"]])
        said = torch.rand(numbers.shape, generator=generator) >= drop
        ids = self._ids[tuple((numbers * said).T)]
        silent = torch.rand(len(ids), generator=generator) < DROP_CAPTION
        return torch.where(silent[:, None], self.empty, ids)


@torch.no_grad()
def latent_table(captions: Captions, vae: AutoencoderTiny) -> dict[str, torch.Tensor]:
    """Draw and encode the training scenes once: latents (N, 4, 16, 16), masks (N, 1, 16, 16), attributes (N, 5)."""
    if (cached := training.load_checkpoint("latents")) is not None:
        return cached
    latents, masks, numbers = [], [], []
    for start in range(0, SCENES, 100):
        scenes = [draw_portrait(scene_rng("generator", i)) for i in range(start, start + 100)]
        x = torch.from_numpy(np.stack([s.picture for s in scenes])).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents.append((vae.encode(x).latents * vae.config.scaling_factor).half())
        mask = torch.from_numpy(np.stack([s.things[0].mask for s in scenes]))[:, None].float()
        masks.append(F.max_pool2d(mask, 4).to(torch.uint8))
        things = [(s.things[0], s.background) for s in scenes]
        numbers += [captions.numbers(t.name, t.kind, t.colour, b, t.size) for t, b in things]
    table = {"latents": torch.cat(latents), "masks": torch.cat(masks), "numbers": torch.tensor(numbers)}
    training.save_checkpoint("latents", table)
    return table


def train(samples: int) -> None:
    """Train until ``samples`` pictures were seen, then save; resumes, and exports the EMA weights now and then."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        distributed.init_process_group("gloo")
    torch.manual_seed(0)
    log = training.Log("diffusion")
    tokenizer = build_tokenizer()
    text, unet = build_models(tokenizer)
    model = nn.ModuleDict({"text": text, "unet": unet})
    vae = AutoencoderTiny.from_pretrained(training.WEIGHTS / "generator" / "vae", torch_dtype=torch.float32).eval()
    captions = Captions(tokenizer)
    data = latent_table(captions, vae)
    rest = ("embedding", "norm", "conv_in", "conv_out", "time_emb")
    optimiser = training.MuonAdamW(model.named_parameters(), lr=PEAK, lr_rest=PEAK_REST, rest=rest)
    ema = training.Ema(model, 0.9985)
    step = seen = 0
    if state := training.load_checkpoint("diffusion"):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema.shadow = state["ema"]
        step, seen = state["step"], state["seen"]
    alphas = build_scheduler().alphas_cumprod
    snr = alphas / (1 - alphas)
    weights = 1 / (1 + snr / 8)
    running = 0.0
    while seen < samples:
        generator = torch.Generator().manual_seed(step * world + rank)
        pick = torch.randint(len(data["latents"]), (BATCH,), generator=generator)
        x = data["latents"][pick].float()
        area = 1 + OBJECT_WEIGHT * data["masks"][pick].float()
        ids = captions.draw(data["numbers"][pick], generator)
        u = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        t = (u * 1000).long()
        noise = torch.randn(x.shape, generator=generator)
        a, s = alphas[t].sqrt()[:, None, None, None], (1 - alphas[t]).sqrt()[:, None, None, None]
        with fast_autocast():
            hidden = text(ids).last_hidden_state
            v = unet(a * x + s * noise, t, hidden, return_dict=False)[0].float()
        error = (v - (a * noise - s * x)).square() * area / area.mean((1, 2, 3), keepdim=True)
        loss = (error.mean((1, 2, 3)) * weights[t]).mean()
        loss.backward()
        if world > 1:
            flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            distributed.all_reduce(flat)
            flat /= world
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.copy_(flat[: p.numel()].view_as(p))
                    flat = flat[p.numel() :]
        optimiser.step(training.trapezoid(seen, samples, warm=200 * BATCH))
        ema.update(model, step)
        step, seen = step + 1, seen + BATCH * world
        running += loss.item()
        if rank == 0 and (step % 500 == 0 or seen >= samples):
            log.write(step=step, samples=seen, loss=round(running / 500, 4))
            running = 0.0
            training.save_checkpoint(
                "diffusion", {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "ema": ema.shadow,
                              "step": step, "seen": seen}
            )
            ema.swap(model)
            export(tokenizer, text, unet, vae)
            ema.swap(model)


def export(tokenizer: CLIPTokenizer, text: CLIPTextModel, unet: UNet2DConditionModel, vae: AutoencoderTiny) -> None:
    """Write the whole pipeline to ``picto/weights/generator`` in half precision; the models stay as they are."""
    vae, text, unet = (copy.deepcopy(part).half() for part in (vae, text, unet))
    vae._internal_dict = {k: v for k, v in vae.config.items() if k != "_name_or_path"}  # a path of the machine
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=build_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    pipeline.save_pretrained(training.WEIGHTS / "generator", safe_serialization=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=600_000, help="pictures to see in all (default 600,000)")
    train(parser.parse_args().samples)
