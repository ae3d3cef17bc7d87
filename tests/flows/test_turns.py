import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from flows.banks import write_prompts
from flows.data import prepare_data, store_of
from flows.generators import settle_batch
from flows.plan import make_plan
from flows.run import run
from flows.runs import write_run
from flows.settings import load_config
from flows.shares import Share
from flows.stages import draw_images
from flows.steps import images_steps
from flows.turns import AlreadyRunning, grown, take_turn
from pipeline.config import AUTO

ONE_ROUND = "experiment.second_round.base=false"

HOLD = """
import sys, time
from flows.settings import load_config
from flows.shares import Share
from flows.turns import take_turn
with take_turn(load_config(None, sys.argv[1:]), "refuse", print):
    print("in", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def held(tmp_path, root):
    """A config that another process runs, and that process."""
    overrides = [f"execution.output={tmp_path}", ONE_ROUND]
    other = subprocess.Popen([sys.executable, "-c", HOLD, *overrides], cwd=root, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    yield load_config(None, overrides), other
    other.kill()
    other.wait()
    other.stdout.close()


def test_a_second_start_is_refused(held, call):
    """The same config is refused while another process runs it, and by whom is said; another config is not."""
    config, other = held
    with pytest.raises(AlreadyRunning, match=rf"running already .*\(process {other.pid} on .*--while-running"):
        run(config, "picto", "prompts", Console(quiet=True))
    code, _, told = call("run", "--set", f"execution.output={config.execution.output}", "--set", ONE_ROUND)
    assert code == 2
    assert told.startswith("syn4seg: this config is running already")
    another = config.model_copy(update={"experiment": config.experiment.model_copy(update={"seed": 1})})
    with take_turn(another, "refuse", print):
        pass


def test_other_devices_and_workers_are_the_same_run(held):
    """What changes only speed makes no other run of it."""
    config, _ = held
    faster = config.model_copy(update={"execution": config.execution.model_copy(update={"workers": 7})})
    with pytest.raises(AlreadyRunning), take_turn(faster, "refuse", print):
        pass


def test_a_killed_run_frees_its_turn(held):
    """After kill -9 the next start goes on at once."""
    config, other = held
    other.kill()
    other.wait()
    with take_turn(config, "refuse", print):
        pass


def test_a_second_start_may_queue(held):
    """With queue it says that it waits, and goes on when the other has ended."""
    config, other = held
    said, entered = [], threading.Event()

    def second():
        with take_turn(config, "queue", said.append):
            entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.5)
    assert not entered.is_set()
    assert said[0].endswith(": waiting for its end")
    other.kill()
    assert entered.wait(30)
    thread.join()


def test_a_growing_budget_keeps_its_shards(tmp_path, tiny):
    """The next run asks for more prompts than the largest finished one; prompts and pictures of before are kept."""
    base = [*tiny, "experiment.prompts.classes=[boat]", "experiment.generate.steps=1", f"execution.output={tmp_path}"]
    first = load_config(None, [*base, "experiment.prompts.per_class=20"])
    assert grown(first, 20) == first
    write_run(first, "night", [])
    other = load_config(None, [*base, "experiment.prompts.per_class=500", "experiment.seed=1"])
    write_run(other, "other", [])
    second = grown(first, 20)
    assert second.experiment.prompts.per_class == 40
    assert grown(second, 20).experiment.prompts.per_class == 40, "40 is not finished yet"
    assert grown(first, 0) == first

    prepare_data(first)
    old = [draw_images(first, *shard) for shard in images_steps(first, write_prompts(first, "boat"))]
    shards = images_steps(second, write_prompts(second, "boat"))
    images = make_plan(second, "images").stages["images"]
    assert (images.reuse, images.compute) == (1, 1)
    assert [store_of(second).find(s.stage, s.shard, s.recipe) for s, _ in shards] == [*old, None]


def test_a_budget_grows_with_a_batch_that_is_found_out(tmp_path, tiny):
    """With batch auto the last finished run is known, though its settings hold a number; without it they differ."""
    auto = load_config(None, [*tiny, f"execution.output={tmp_path}", "experiment.generate.batch=auto"])
    write_run(settle_batch(auto), "night", [])
    assert grown(auto, 20).experiment.prompts.per_class == 22
    assert grown(auto, 20).experiment.generate.batch == AUTO
    other = load_config(None, [*tiny, f"execution.output={tmp_path}", "experiment.generate.batch=3"])
    assert grown(other, 20) == other


def test_a_budget_grows_beside_a_damaged_run(tmp_path, tiny):
    """Settings that cannot be read are no run of this config."""
    config = load_config(None, [*tiny, f"execution.output={tmp_path}"])
    damaged = write_run(config, "damaged", [])
    for text in ("{}", "experiment: ["):
        (damaged / "experiment.yaml").write_text(text)
        assert grown(config, 20) == config


def test_shares_of_a_config_go_on_at_once(tmp_path):
    """Two shares, and the whole run beside them, have a turn each; the same share a second time has none."""
    config = load_config(None, [f"execution.output={tmp_path}"])
    with take_turn(config, "refuse", print, Share(1, 2)), take_turn(config, "refuse", print, Share(2, 2)):
        with take_turn(config, "refuse", print):
            pass
        again = take_turn(config, "refuse", print, Share(2, 2))
        with pytest.raises(AlreadyRunning, match="this share of the config is running already"), again:
            pass
