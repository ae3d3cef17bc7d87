"""All settings. `Experiment` changes results and is fingerprinted; `Execution` changes only speed and place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.mirror import local_folder

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


def _shares(pair: tuple[float, float]) -> tuple[float, float]:
    if not all(0 < share <= 1 for share in pair):
        raise ValueError("expected two numbers above 0 and at most 1, such as [0.55, 0.35]")
    return pair


def _counted(value: object) -> object:
    return AUTO if value == "auto" else value


def _home(place: str) -> str:
    return str(Path(place).expanduser()) if place == "~" or place.startswith("~/") else place


def _off(value: object) -> object:
    return "off" if value is False else value  # as YAML reads it


Side = Annotated[int, AfterValidator(_square)]
Place = Annotated[str, AfterValidator(_home)]

LATER = "later"
"""Marks a setting that came later than shards which must stay known: ``Annotated[int, LATER]``."""

AUTO = 0
"""A batch that is found out before the run; ``auto`` in a config."""


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def recipe(self, *without: str) -> dict[str, Any]:
        """Give what a shard's recipe holds of the settings, as JSON values.

        Args:
            without: settings that are left out.

        Returns:
            All others; those marked with `LATER` only where they differ from their defaults, so that shards from before
            them are found.
        """
        values, changed = self.model_dump(mode="json", exclude=set(without)), self.model_dump(exclude_defaults=True)
        later = {name for name, field in type(self).model_fields.items() if LATER in field.metadata}
        return {name: value for name, value in values.items() if name not in later or name in changed}


class LanguageSettings(Settings):
    """The language model of the agents ``instruct`` and ``endpoint``, or its transcript. Source: ours."""

    model: str = Field(
        "", description="instruct: a chat model of transformers by folder or hub name; endpoint: its name there"
    )
    revision: str = Field("", description="instruct, from the hub: branch, tag or commit")
    temperature: float = Field(0.9, ge=0, le=2, description="of sampling; 0: always the likeliest word")
    max_tokens: int = Field(2048, ge=64, le=131_072, description="most tokens of an answer")
    requests: int = Field(200, ge=1, le=100_000, description="most requests a class; then the grammar writes the rest")
    transcript: str = Field("", description="replay: a transcript.jsonl, or a folder that has some in it")


class PromptSettings(Settings):
    """HDIG's prompt bank. Source: systems.md 4.2."""

    agent: Literal["grammar", "instruct", "endpoint", "replay"] = Field(
        "grammar", description="who proposes prompts: the vocabulary's grammar, a local chat model, a chat endpoint, "
        "or the transcript of one of these"
    )
    language: LanguageSettings = LanguageSettings()
    per_class: int = Field(40, ge=1, le=1_000_000, description="accepted prompts a class")
    max_similarity: float = Field(0.93, gt=0, le=1, description="lambda: accept below this cosine to every kept prompt")
    classes: tuple[str, ...] = Field((), description="novel classes to draw; empty means all of the fold")
    enabled: bool = Field(True, description="false: the class name alone is the only prompt")


class ModelOptions(BaseModel):
    """Arguments of the chosen model's own class, such as ``blocks: 6``; the model refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


class SchedulerSettings(ModelOptions):
    """A scheduler of diffusers; further keys are options of its class, all others are as the model's own has them."""

    name: str = Field(description="its class, such as LCMScheduler")


class GenerateSettings(Settings):
    """Synthesis. Source: systems.md 4.2; steps and guidance of picto were measured, see docs/log.md.

    What is not set is as the model's own pipeline has it; docs/generators.md tells what which family knows.
    """

    source: Annotated[Literal["model", "copy-paste", "oracle"], LATER] = Field(
        "model", description="what pictures come from; copy-paste: supports pasted onto base pictures; oracle, picto "
        "alone: drawn scenes; these two are controls and bring their labels along"
    )
    model: str = Field("picto", description="picto, or a diffusers text-to-image model by folder or hub name")
    revision: Annotated[str | None, LATER] = Field(
        None, description="commit, tag or branch on the hub; none: the commit of docs/full_size.md, else main"
    )
    variant: Annotated[str | None, LATER] = Field(None, description="which files of several, such as fp16")
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], LATER] = Field(
        "auto", description="auto: fp32 on a CPU, bf16 on a GPU"
    )
    quantize: Annotated[Literal["none", "nf4", "int8", "fp8"], LATER] = Field(
        "none", description="weights of the denoiser and of text encoders other than CLIP; needs syn4seg[quant]"
    )
    steps: int = Field(20, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(
        2.5, ge=0, le=30, description="classifier-free guidance (CFG) scale, off up to 1; FLUX dev: its distilled one"
    )
    guidance_rescale: Annotated[float, LATER] = Field(
        0, ge=0, le=1, description="pulls over-saturated pictures back where the noise schedule ends at zero SNR"
    )
    negative_prompt: Annotated[str | None, LATER] = Field(None, description="what pictures should not show")
    scheduler: Annotated[SchedulerSettings | None, LATER] = Field(
        None, description="in place of the model's own: {name: LCMScheduler, OPTION: VALUE}"
    )
    size: Annotated[int | None, LATER] = Field(None, ge=8, multiple_of=8, description="side of the pictures, pixels")
    batch: Annotated[int, BeforeValidator(_counted), LATER] = Field(
        8, ge=0, le=1024, description="pictures at once; auto: as many as fit, found out before the run (CPU: 8)"
    )
    vae_tiling: Annotated[bool, LATER] = Field(
        False, description="decode large pictures in tiles: less memory, faint seams"
    )
    safety: Annotated[Literal["keep", "off"], BeforeValidator(_off), LATER] = Field(
        "keep", description="keep: the model's safety checker, where it has one, drops what it flags"
    )
    options: Annotated[ModelOptions, LATER] = Field(
        ModelOptions(), description="further arguments of the pipeline's call, such as max_sequence_length: 512"
    )
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
    batch: Annotated[int, LATER] = Field(16, ge=1, description="pictures that the teacher sees at once")


class FilterSettings(Settings):
    """APF. Source: systems.md 4.4."""

    min_similarity: float = Field(-0.1, ge=-1, le=1, description="lambda: keep a region at or above this cosine")
    min_contrast: float | None = Field(
        0.6, ge=0, le=1, description="keep a region only if it stands out of its picture's background, where 1 is the "
        "label's mean and 0 the background's; null: not asked, as published"
    )
    min_area: float = Field(0.001, ge=0, le=1, description="smaller components become free, fraction of the picture")
    part: float = Field(
        0.03125, gt=0, le=1, description="components are cut into squares of this side, fraction of the longer side; "
        "1: judged whole, as published"
    )
    centre: bool = Field(True, description="subtract every picture's own mean feature before APF's and APR's cosine")
    enabled: bool = True


class RelabelSettings(Settings):
    """APR. Source: systems.md 4.5."""

    blend: float = Field(0.5, ge=0, le=1, description="beta: 1 = support prototype, 0 = the picture's own")
    min_similarity: float = Field(0.1, ge=-1, le=1, description="claim a free pixel at or above this cosine")
    min_margin: float | None = Field(
        0.25, ge=-2, le=2, description="claim it only if it is by this much of cosine more like a kept cell than like "
        "any of its picture's background; null: not asked, as published"
    )
    enabled: bool = True


class RefineSettings(Settings):
    """SABR. Source: systems.md 4.6."""

    model: str = Field(
        "picto", description="picto; vit_b=PATH, vit_l=PATH, vit_h=PATH of an original checkpoint; or a SAM or SAM 2 "
        "of transformers by folder or hub name, such as facebook/sam-vit-huge or facebook/sam2.1-hiera-large"
    )
    revision: Annotated[str | None, LATER] = Field(
        None, description="commit, tag or branch on the hub; none: the commit of docs/full_size.md, else main"
    )
    precision: Annotated[Literal["auto", "fp32", "bf16"], LATER] = Field(
        "auto", description="of SAM's encoder; auto: bf16 on a GPU that knows it, fp32 on a CPU"
    )
    band: float = Field(0.1, gt=0, le=0.25, description="half-width of the band, fraction of the longer side")
    min_overlap: float = Field(0.4, ge=0, le=1, description="skip a region whose IoU with SAM's mask is below this")
    pad: float = Field(0.006, ge=0, le=0.5, description="padding of the box, fraction of the longer side")
    min_area: float = Field(0.001, ge=0, le=1, description="smaller regions, as a fraction, are not shown to SAM")
    enabled: bool = True


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


class SecondRoundSettings(Settings):
    """What the first final model is used for, before the chain goes on to a second one; off: the first is the last.

    Source: ours (decisions.md, second round).
    """

    label: bool = Field(False, description="it labels all pictures anew, as the teacher did in the first round")
    prompts: float = Field(
        0, ge=0, lt=1, description="share of the prompts that wait for the second round, where they go to classes and "
        "attributes on which it and the labels disagree"
    )
    base: bool = Field(
        False, description="it labels novel things that base pictures hide in their background, which are then learnt "
        "too; without effect under a protocol that leaves such pictures out"
    )
    min_novel_score: float = Field(
        0.3, ge=0, le=1, description="background becomes novel from this probability of all novel classes on"
    )
    doubt: float = Field(0.1, ge=0, le=1, description="background from this one on is ignored")


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
    clip: Annotated[float, LATER] = Field(
        1.0, ge=0, description="greatest norm of all gradients together; 0: as they are, published"
    )
    ema: float = Field(0, ge=0, lt=1, description="decay a step of the average of the weights; 0: no average")


class TrainSettings(LoopSettings):
    """Training of the teacher and of the final model; picto's values were measured, see docs/log.md."""

    base_steps: int = Field(300, ge=1, description="of the teacher's base learner and decoder; published: 100 epochs")
    final_steps: int = Field(400, ge=1, description="steps of the final model, with or without synthetic data")
    batch: int = Field(8, ge=1, description="pictures a step")
    lr: float = Field(1e-2, gt=0, description="peak learning rate; published: 2.5e-3 (BAM's 2.5e-4 x 10)")
    side: Side = Field(
        0, ge=0, le=4096, description="side of the squares in pixels; 0: as published, 417 or 473 (see protocols); "
        "own classes: their pictures' longest side, at most 640; picto: as drawn"
    )
    augment: Literal["mild", "recipe"] = Field(
        "mild", description="mild: picto's, mirrored beyond the edges; recipe: BAM's train_base (fss_models.augment)"
    )
    scale: Annotated[tuple[float, float], AfterValidator(_range)] = Field(
        (0.5, 2.0), description="enlargement of recipe; CAPL and POP: 0.9 to 1.1"
    )
    min_pixels: int = Field(60, ge=1, description="a picture counts for a class from so many on; published: 2048")
    synthetic_share: float = Field(0.5, ge=0, le=1, description="chance that a novel picture of a step is synthetic")
    synthetic_weight: float = Field(0.5, ge=0, description="loss weight of synthetic pictures (w_syn)")
    synthetic_confidence: float = Field(
        0, ge=0, le=16, description="synthetic pictures weigh by their confidence (pipeline.confidence) to this power, "
        "w_syn on average; 0: all alike"
    )


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
    apart_lr: Annotated[float, LATER] = Field(
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
    first: Annotated[Literal["class", "picture"], LATER] = Field(
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
    expected_iou: Annotated[tuple[float, float], AfterValidator(_shares)] = Field(
        (0.55, 0.35), description="of base and of novel classes: a pixel gets the class whose probability divided by "
        "its expected IoU is highest, best for mIoU (fss_models.decision); [1, 1]: the most probable one, as published"
    )
    prompts: PromptSettings = PromptSettings()
    generate: GenerateSettings = GenerateSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    filter: FilterSettings = FilterSettings()
    relabel: RelabelSettings = RelabelSettings()
    refine: RefineSettings = RefineSettings()
    teacher: TeacherSettings = TeacherSettings()
    second_round: SecondRoundSettings = SecondRoundSettings()
    model: FinalSettings = FinalSettings()
    train: TrainSettings = TrainSettings()
    fss: FssSettings = FssSettings()
    prepare: PrepareSettings = PrepareSettings()


class EndpointSettings(Settings):
    """Where the prompt agent ``endpoint`` asks; what it asks, and which model, stands in ``experiment.prompts``."""

    url: str = Field("", description="of an OpenAI-compatible server, such as http://localhost:8000/v1")
    key_variable: str = Field("", description="environment variable that holds the key; empty: the server wants none")
    timeout: float = Field(120, gt=0, le=3600, description="seconds to wait for an answer")
    retries: int = Field(5, ge=0, le=100, description="further tries after no answer, 429 or 5xx")


class GeneratorExecution(Settings):
    """How the generator is fitted to its device, each where its pipeline can; docs/generators.md has what it buys.

    Slicing and compilation may change the last bits of pictures, as another device does.
    """

    offload: Literal["none", "encoders", "model", "sequential"] = Field(
        "none", description="what waits in the CPU's memory: text encoders once the text is encoded, every model that "
        "is not at work, or every layer; the last two need a GPU"
    )
    vae_slicing: bool = Field(False, description="decode the pictures of a batch one by one: less memory")
    compile: bool = Field(False, description="compile the denoiser's repeated blocks: slow start, quicker steps")


class Execution(Settings):
    """Everything that changes only speed or place."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    workers: int = Field(
        0, ge=0, le=1024, description="processes that share the shards, each with its own GPU; 0: as many as GPUs, "
        "without any two for picto, else one"
    )
    runner: Literal["processes", "ray", "prefect", "prefect-ray"] = Field(
        "processes", description="processes of this machine or actors on a Ray cluster; prefect and prefect-ray: the "
        "same by Prefect's own task runners, which are slower"
    )
    address: str = Field("", description="of the Ray cluster: auto, host:port; empty: RAY_ADDRESS, or this machine")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads a process; may change the last bits of results")
    output: Place = Field("outputs", description="folder of the store and the runs, or a URL that fsspec knows")
    generator: GeneratorExecution = GeneratorExecution()
    cache: Place = Field("", description="folder for what a URL holds; empty: one below ~/.cache/syn4seg")
    readers: int = Field(0, ge=0, le=1024, description="processes that prepare the batches of a training ahead")
    tensorboard: bool = Field(False, description="write TensorBoard's files beside a training's checkpoints")
    report_pictures: int = Field(
        2, ge=0, le=100, description="validation pictures a novel class that the report shows the models on; 0: none, "
        "no model is loaded for it"
    )
    endpoint: EndpointSettings = EndpointSettings()
    data: Place = Field("data", description="folder of the data sets that are not drawn: VOC2012, COCO2014, ...")

    @property
    def folder(self) -> Path:
        """The output folder on this machine: that of a URL holds what was fetched from there and computed here."""
        return local_folder(self.output, self.cache)


class Config(Settings):
    """A config file: only what differs from the defaults."""

    experiment: Experiment = Experiment()
    execution: Execution = Execution()

    def with_experiment(self, **changes: Settings) -> Config:
        """Give the same with other groups of the experiment, such as ``prompts``."""
        return self.model_copy(update={"experiment": self.experiment.model_copy(update=changes)})
