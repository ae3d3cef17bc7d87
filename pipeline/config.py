"""All settings. `Experiment` changes results and is fingerprinted; `Execution` changes only speed and place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SMALLEST = 16
"""Pixels of the smallest square that a network is shown: less is no picture to its backbone."""


def _square(side: int) -> int:
    if 0 < side < SMALLEST:
        raise ValueError(f"expected 0 or from {SMALLEST} on")
    return side


def _range(scale: tuple[float, float]) -> tuple[float, float]:
    if not 0 < scale[0] <= scale[1]:
        raise ValueError("expected a least and a greatest number above 0, such as [0.9, 1.1]")
    return scale


Side = Annotated[int, AfterValidator(_square)]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PromptSettings(Settings):
    """HDIG's prompt bank. Source: systems.md 4.2."""

    agent: Literal["grammar"] = Field("grammar", description="who proposes prompts")
    per_class: int = Field(40, ge=1, le=1_000_000, description="accepted prompts a class")
    max_similarity: float = Field(0.93, gt=0, le=1, description="lambda: accept below this cosine to every kept prompt")
    classes: tuple[str, ...] = Field((), description="novel classes to draw; empty means all of the fold")
    enabled: bool = Field(True, description="false: the class name alone is the only prompt")


class GenerateSettings(Settings):
    """Synthesis. Source: systems.md 4.2; steps and guidance of picto were measured, see docs/log.md."""

    source: Literal["model", "copy-paste", "oracle"] = Field(
        "model", description="what pictures come from; copy-paste: supports pasted onto base pictures; oracle, picto "
        "alone: drawn scenes; these two are controls and bring their labels along"
    )
    model: str = Field("picto", description="picto, or a diffusers text-to-image model by folder or hub name")
    steps: int = Field(20, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(2.5, ge=0, le=30, description="classifier-free guidance (CFG) scale")
    images_per_prompt: int = Field(1, ge=1, le=10_000, description="pictures a prompt")
    enabled: bool = Field(True, description="false: no synthetic pictures at all")


class AnnotateSettings(Settings):
    """First pseudo-labels. Source: systems.md 4.3."""

    min_base_score: float = Field(0.8, ge=0, le=1, description="base predictions below this softmax become 255")
    flip: bool = Field(True, description="average with the mirrored picture")
    prompt_odds: float = Field(
        0, ge=0, le=1e6, description="how much likelier the prompted class is than the teacher assumes; 1: no more; "
        "0: estimated in every picture from its own log odds"
    )


class FilterSettings(Settings):
    """APF. Source: systems.md 4.4."""

    min_similarity: float = Field(0.3, ge=-1, le=1, description="lambda: keep a region at or above this cosine")
    min_area: float = Field(0.001, ge=0, le=1, description="smaller components become free, fraction of the picture")
    part: float = Field(
        0.0625, gt=0, le=1, description="components are cut into squares of this side, fraction of the longer side; "
        "1: judged whole, as published"
    )
    centre: bool = Field(True, description="subtract every picture's own mean feature before APF's and APR's cosine")
    enabled: bool = True


class RelabelSettings(Settings):
    """APR. Source: systems.md 4.5."""

    blend: float = Field(0.5, ge=0, le=1, description="beta: 1 = support prototype, 0 = the picture's own")
    min_similarity: float = Field(0.2, ge=-1, le=1, description="claim a free pixel at or above this cosine")
    enabled: bool = True


class RefineSettings(Settings):
    """SABR. Source: systems.md 4.6."""

    model: str = Field("picto", description="picto, or vit_b=PATH, vit_l=PATH, vit_h=PATH")
    band: float = Field(0.1, gt=0, le=0.25, description="half-width of the band, fraction of the longer side")
    min_overlap: float = Field(0.4, ge=0, le=1, description="skip a region whose IoU with SAM's mask is below this")
    pad: float = Field(0.006, ge=0, le=0.5, description="padding of the box, fraction of the longer side")
    min_area: float = Field(0.001, ge=0, le=1, description="smaller regions, as a fraction, are not shown to SAM")
    enabled: bool = True


class ModelOptions(BaseModel):
    """Arguments of the chosen model's own class, such as ``blocks: 6``; the model refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


class FinalOptions(Settings):
    """What of the final GFSS network is set apart from the teacher's.

    With other options in ``few_shot``, as with another name or backbone, it does not start from the teacher's weights
    but from a model of its own kind, which is trained by the teacher's recipe first.
    """

    feature_dropout: float | None = Field(None, ge=0, lt=1, description="whole channels; published: 0.5")
    train_projection: bool | None = Field(
        None, description="false: first projections of IIR and I2R stay as drawn, as published"
    )
    few_shot: ModelOptions = Field(
        ModelOptions(), description="arguments of the few-shot part's own class, see experiment.fss.options"
    )


class NetworkOptions(FinalOptions):
    """The GFSS network; what is not set is as in `fss_models.gfss`, which suits picto."""

    base_dim: int | None = Field(None, ge=8, multiple_of=8, description="channels of the features; published: 512")
    dim: int | None = Field(None, ge=8, multiple_of=8, description="width of the few-shot part; published: 256")
    blocks: int | None = Field(None, ge=2, description="blocks of IIR and I2R; published: 6")


class ModelSettings(Settings):
    """A segmentation model."""

    name: Literal["iir", "i2r", "symnet", "rifenet", "matching"] = Field(
        "iir", description="matching: the reference of FSS, learns nothing"
    )
    backbone: str = Field(
        "picto", description="picto, a transformers classifier (ResNet, RegNet, ConvNeXt, MobileNetV2, ViT, DINOv2) by "
        "folder or hub name, or a MobileNetV2's .safetensors"
    )


class TeacherSettings(ModelSettings):
    """The GFSS model that makes the first labels; a final one of the same kind starts from it."""

    options: NetworkOptions = NetworkOptions()


class FinalSettings(ModelSettings):
    """The final GFSS model, or the FSS model, whose options are ``experiment.fss.options``."""

    options: FinalOptions = FinalOptions()


class LoopSettings(Settings):
    """What every training has. Published values: systems.md 5.7."""

    optimiser: Literal["muon", "sgd", "adamw"] = Field("muon", description="published: sgd, with lr 0.05")
    schedule: Literal["hold", "poly"] = Field("hold", description="hold: warm-up, constant, cosine; published: poly")
    precision: Literal["no", "bf16", "fp16"] = Field("no", description="of the trained parts; fp16 needs a GPU")
    accumulate: int = Field(1, ge=1, le=1024, description="batches whose gradients make one step")
    clip: float = Field(1.0, ge=0, description="greatest norm of all gradients together; 0: as they are, published")
    ema: float = Field(0, ge=0, lt=1, description="decay a step of the average of the weights; 0: no average")


class TrainSettings(LoopSettings):
    """Training of the teacher and of the final model; picto's values were measured, see docs/log.md."""

    base_steps: int = Field(300, ge=1, description="of the teacher's base learner and decoder; published: 100 epochs")
    final_steps: int = Field(200, ge=1, description="steps of the final model, with or without synthetic data")
    batch: int = Field(8, ge=1, description="pictures a step")
    lr: float = Field(1e-2, gt=0, description="peak learning rate; published: 2.5e-3 (BAM's 2.5e-4 x 10)")
    side: Side = Field(
        0, ge=0, le=4096, description="side of the squares in pixels; 0: as published, 417 or 473 (see protocols); "
        "own classes: their pictures' longest side, at most 640; picto: as drawn"
    )
    augment: Literal["mild", "recipe"] = Field(
        "mild", description="mild: picto's, mirrored beyond the edges; recipe: BAM's train_base (fss_models.augment)"
    )
    scale: tuple[float, float] = Field((0.5, 2.0), description="enlargement of recipe; CAPL and POP: 0.9 to 1.1")
    min_pixels: int = Field(60, ge=1, description="a picture counts for a class from so many on; published: 2048")
    synthetic_share: float = Field(0.5, ge=0, le=1, description="chance that a novel picture of a step is synthetic")
    synthetic_weight: float = Field(0.5, ge=0, description="loss weight of synthetic pictures (w_syn)")


class PrepareSettings(Settings):
    """Preparation of a backbone by ``syn4seg prepare``. Published: systems.md 5.7; steps and batch suit picto."""

    steps: int = Field(600, ge=2, description="of both phases together; published: 200 epochs on PASCAL, 20 on COCO")
    batch: int = Field(8, ge=2, description="pictures a step; published: 64 on PASCAL, 16 on COCO")
    side: Side = Field(0, ge=0, le=4096, description="of the squares, pixels, published: 473, 641; 0: as pictures are")
    first: float = Field(0.5, ge=0, le=1, description="share of the steps for the first phase; 0 distils alone")
    lr: float = Field(2.5e-4, gt=0, description="peak rate of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    warm: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises; then a half cosine")
    temperature: float = Field(3.0, gt=0, description="T of the distillation")
    dim: int = Field(512, ge=8, description="channels of the base learner's penultimate features (options.base_dim)")


class FssSettings(LoopSettings):
    """Episodic training and evaluation. Source: systems.md 2 and 5.7; the defaults are picto's."""

    steps: int = Field(400, ge=1, description="training steps")
    batch: int = Field(8, ge=1, description="episodes a batch")
    lr: float = Field(1e-2, gt=0, description="peak learning rate")
    apart_lr: float = Field(
        0, ge=0, description="constant AdamW rate of the part that a model names, RiFeNet its transformer (published: "
        "1e-4); 0: as all else"
    )
    side: Side = Field(0, ge=0, description="side of the squares, pixels, published: 473, 641; 0: as the pictures are")
    stride: Literal[8, 16, 32] = Field(8, description="output stride of the backbone; published: 32, not dilated")
    augment: Literal["mild", "recipe", "photometric", "none"] = Field("mild", description="see fss_models.augment")
    scale: Annotated[tuple[float, float], AfterValidator(_range)] = Field(
        (0.9, 1.1), description="enlargement of recipe; COCO: 0.8 to 1.25"
    )
    min_pixels: int = Field(60, ge=1, description="a picture counts for a class from so many on; published: 2048")
    first: Literal["class", "picture"] = Field(
        "class", description="what a training episode draws first: its class (all are equally frequent), or as "
        "published the query, then one of its classes"
    )
    choose: Literal["base", "test", "none"] = Field(
        "base", description="the kept weights are best on episodes of base classes, on pictures left out of training; "
        "of the test fold, as published; or the last ones"
    )
    choose_every: int = Field(100, ge=1, description="steps from one look at these episodes to the next")
    choose_episodes: int = Field(100, ge=1, description="how many there are")
    episodes: int = Field(1000, ge=1, description="episodes of a score a seed; published: 1000 PASCAL, 4000 COCO")
    seeds: int = Field(5, ge=1, description="streams of episodes of a score: 0, 1, ...")
    resolution: Literal["original", "network"] = Field("original", description="size at which pixels are counted")
    multiscale: bool = Field(False, description="scores and label maps are means over three views of the query (IIR)")
    options: ModelOptions = ModelOptions()


class Experiment(Settings):
    """Everything that changes results."""

    dataset: str = Field("picto", description="picto, a name of pipeline.datasets, or the path of an own-classes YAML")
    fold: int = Field(0, ge=0, le=11, description="0 to 3; pascal also 10 and 11 (PASCAL-10i), lvis 0 to 9")
    protocol: Literal["gfss-diam", "gfss-capl"] = Field(
        "gfss-diam", description="which published GFSS convention holds, see pipeline.protocols"
    )
    shots: int = Field(1, ge=1, le=100, description="support pictures a novel class (K)")
    seed: int = Field(0, ge=0)
    base_pictures: int = Field(1000, ge=1, description="base training scenes of picto")
    validation_pictures: int = Field(300, ge=1, description="validation scenes of picto")
    validation: Literal["validation", "tuning"] = Field(
        "validation", description="scenes of picto that models are scored on; tuning: those that settings are chosen on"
    )
    prompts: PromptSettings = PromptSettings()
    generate: GenerateSettings = GenerateSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    filter: FilterSettings = FilterSettings()
    relabel: RelabelSettings = RelabelSettings()
    refine: RefineSettings = RefineSettings()
    teacher: TeacherSettings = TeacherSettings()
    model: FinalSettings = FinalSettings()
    train: TrainSettings = TrainSettings()
    fss: FssSettings = FssSettings()
    prepare: PrepareSettings = PrepareSettings()


class Execution(Settings):
    """Everything that changes only speed or place."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    workers: int = Field(0, ge=0, le=1024, description="processes that share the shards; 0: two for picto, else one")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads a process; may change the last bits of results")
    output: str = Field("outputs", description="folder of the store and the runs")
    readers: int = Field(0, ge=0, le=1024, description="processes that prepare the batches of a training ahead")
    tensorboard: bool = Field(False, description="write TensorBoard's files beside a training's checkpoints")
    report_pictures: int = Field(
        2, ge=0, le=100, description="validation pictures a novel class that the report shows the models on; 0: none, "
        "no model is loaded for it"
    )
    data: str = Field("data", description="folder of the data sets that are not drawn: VOC2012, COCO2014, ...")


class Config(Settings):
    """A config file: only what differs from the defaults."""

    experiment: Experiment = Experiment()
    execution: Execution = Execution()
