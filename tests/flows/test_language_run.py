"""Runs whose prompts a chat endpoint writes: by the command line, resumed, grown, replayed without the endpoint."""

import json
import re

import pytest

from flows.settings import dump_config, load_config
from flows.steps import prompts_step

KEY = "sk-never-to-be-seen"
COLOURS = ("red", "green", "blue", "white", "black", "yellow")
PLACES = ("on the grass", "in the snow", "in the desert", "in a room")


def speaker(count):
    """A model that writes so many captions in the words of picto an answer, others every time, and some rubbish."""
    written = {}

    def answer(question):
        text = question["messages"][-1]["content"]
        name = re.search(r"pictures of this: (\w+)\.", text)[1]
        start = written.get(name, 0)
        written[name] = start + count
        pairs = [(c, p) for p in PLACES for c in COLOURS][start : start + count]
        lines = [json.dumps({"sentence": f"a {c} {name} {p}", "attributes": {"colour": c}}) for c, p in pairs]
        return "\n".join(["Here you are:", *lines, json.dumps({"sentence": f"a {KEY} star"}), "{oops"])

    return answer


@pytest.fixture
def language_run(call, overrides, chat_server, monkeypatch, prefect):
    """Give what runs the prompts of two classes with some settings more; code, stdout, stderr."""
    monkeypatch.setenv("SYN4SEG_TEST_KEY", KEY)
    shared = ["experiment.prompts.classes=[boat, chair]", "experiment.prompts.max_similarity=0.999"]

    def run(*settings, per_class=4, agent="endpoint"):
        endpoint = [f"execution.endpoint.url={chat_server.url}", "execution.endpoint.key_variable=SYN4SEG_TEST_KEY",
                    "execution.endpoint.retries=0", "experiment.prompts.language.model=tiny"]
        sets = [*overrides, *shared, f"experiment.prompts.agent={agent}", f"experiment.prompts.per_class={per_class}",
                *(endpoint if agent == "endpoint" else []), *settings]
        run.config = load_config(None, sets)
        return call("run", "--until", "prompts", *(part for one in sets for part in ("--set", one)))

    return run


def folder_of(config, name):
    """Give the folder of a bank."""
    from flows.data import store_of

    step = prompts_step(config, name)
    return store_of(config).folder(store_of(config).find(step.stage, step.shard, step.recipe))


def test_prompts_by_an_endpoint_are_reused_grown_and_replayed(language_run, chat_server, call, tmp_path):
    """Once asked, a bank is reused; more are asked on top of it; the transcript alone gives the same bytes."""
    chat_server.replies = [speaker(3)]
    code, told, complaint = language_run()
    assert code == 0, complaint
    assert "0 of them from earlier runs" in told
    assert "warning" not in complaint
    asked = len(chat_server.asked)
    assert asked == 4
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, headers, _ in chat_server.asked)
    config, small = language_run.config, folder_of(language_run.config, "boat")
    prompts = (small / "prompts.jsonl").read_text().splitlines()
    assert len(prompts) == 4
    rows = [json.loads(line) for line in (small / "transcript.jsonl").read_text().splitlines()]
    assert [len(row["accepted"]) for row in rows] == [3, 3]
    assert "does not name the class boat" in rows[0]["refused"][0]["reason"]
    assert rows[0]["invalid"]
    record = json.loads((small / "record.json").read_text())
    assert record["counts"]["requests"] == 2
    assert record["counts"]["by_grammar"] == 0
    diversity = json.loads((small / "diversity.json").read_text())
    assert 1 <= diversity["accepted"]["effective"] <= 4
    assert set(diversity["unfiltered"]) == set(diversity["accepted"])

    code, told, _ = language_run()
    assert code == 0
    assert "2 of them from earlier runs" in told
    assert len(chat_server.asked) == asked

    code, _, complaint = language_run(per_class=8)
    assert code == 0, complaint
    large = folder_of(language_run.config, "boat")
    assert (large / "prompts.jsonl").read_text().splitlines()[:4] == prompts
    assert (large / "transcript.jsonl").read_text().startswith((small / "transcript.jsonl").read_text())
    assert len(chat_server.asked) == asked + 2

    asked = len(chat_server.asked)
    for name in ("boat", "chair"):
        (tmp_path / name).mkdir()
        source = folder_of(config, name) / "transcript.jsonl"
        (tmp_path / name / "transcript.jsonl").write_bytes(source.read_bytes())
    code, _, complaint = language_run(f"experiment.prompts.language.transcript={tmp_path}", agent="replay")
    assert code == 0, complaint
    again = folder_of(language_run.config, "boat")
    assert again != small
    for name in ("prompts.jsonl", "refused.jsonl", "vectors.npy", "transcript.jsonl", "diversity.json"):
        assert (again / name).read_bytes() == (small / name).read_bytes()
    assert json.loads((again / "record.json").read_text())["content"] == record["content"]
    assert len(chat_server.asked) == asked
    for path in small.parents[2].rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_replay_plays_all_that_was_recorded(language_run, chat_server):
    """Six answers are six prompts, also where fewer requests are allowed; both are the same bank."""
    chat_server.replies = [speaker(1)]
    sets = ["experiment.seed=8", "experiment.prompts.classes=[boat]"]
    code, _, complaint = language_run(*sets, "experiment.prompts.language.requests=6", per_class=6)
    assert code == 0, complaint
    recorded = folder_of(language_run.config, "boat")
    assert json.loads((recorded / "record.json").read_text())["counts"]["requests"] == 6
    played = set()
    for requests in (4, 6):
        more = [f"experiment.prompts.language.{one}" for one in (f"requests={requests}", f"transcript={recorded}")]
        code, _, complaint = language_run(*sets, *more, per_class=6, agent="replay")
        assert code == 0, complaint
        assert "by the grammar" not in complaint
        again = folder_of(language_run.config, "boat")
        assert json.loads((again / "record.json").read_text())["counts"]["by_grammar"] == 0
        assert (again / "prompts.jsonl").read_bytes() == (recorded / "prompts.jsonl").read_bytes()
        played.add(again)
    assert len(played) == 1


def test_a_broken_endpoint_ends_the_run_and_loses_no_answer(language_run, chat_server):
    """An answer that came before the endpoint broke is not paid for twice."""
    answer = speaker(3)
    chat_server.replies = [answer, (500, {}, f"broken {KEY}")]
    code, _, complaint = language_run("experiment.seed=5", "experiment.prompts.classes=[boat]")
    assert code == 2
    assert "500 (broken (key)): see whether the server is up" in complaint
    assert KEY not in complaint
    chat_server.replies = [answer]
    chat_server.asked.clear()
    code, _, complaint = language_run("experiment.seed=5", "experiment.prompts.classes=[boat]")
    assert code == 0, complaint
    assert len(chat_server.asked) == 1
    assert "Already there" in chat_server.asked[0][2]["messages"][-1]["content"]


def test_garbage_falls_back_to_the_grammar_aloud(language_run, chat_server, call, tmp_path):
    """The console and the record say that the grammar wrote the prompts, now and whenever the bank is used again."""
    chat_server.replies = ["I am a teapot."]
    for _ in range(2):
        code, _, complaint = language_run("experiment.seed=6", "experiment.prompts.classes=[boat]")
        assert code == 0, complaint
        assert "warning: prompts boat: the language model wrote 0 of 4 prompts for 'boat' (0 of the 4" in complaint
        assert "the grammar wrote 4" in complaint
    record = json.loads((folder_of(language_run.config, "boat") / "record.json").read_text())
    assert len(record["warnings"]) == 1
    assert len(chat_server.asked) == 4

    place = folder_of(language_run.config, "boat")
    run = tmp_path / "runs" / "20260101-000000-banks"
    run.mkdir(parents=True)
    (tmp_path / "store").symlink_to(place.parents[1].resolve())
    (run / "experiment.yaml").write_text(dump_config(language_run.config))
    (run / "lineage.json").write_text(json.dumps({"prompts": {"boat": {"fingerprint": record["fingerprint"]}}}))
    code, told, _ = call("show", "banks", "prompts", "--output", tmp_path, "--json")
    (row,) = json.loads(told)["rows"]
    assert (code, row["kept"], row["warning"]) == (0, 4, record["warnings"][0])
    diversity = json.loads((place / "diversity.json").read_text())
    assert row["scores"]["accepted effective"] == diversity["accepted"]["effective"]
    assert row["scores"]["unfiltered nearest_cosine"] == diversity["unfiltered"]["nearest_cosine"]
    code, told, _ = call("show", "banks", "prompts", "--output", tmp_path)
    assert code == 0
    assert "as how many wholly different ones they count" in told


def test_a_local_chat_model_is_asked(language_run, chat_folder, chat_server):
    """An untrained one says nothing of use: its answers are kept, the grammar writes; the bank is found again."""
    sets = [f"experiment.prompts.language.model={chat_folder}", "experiment.prompts.language.max_tokens=64",
            "experiment.prompts.classes=[boat]"]  # fmt: skip
    code, _, complaint = language_run(*sets, agent="instruct")
    assert code == 0, complaint
    assert "the language model wrote 0 of 4 prompts for 'boat'" in complaint
    place = folder_of(language_run.config, "boat")
    record = json.loads((place / "record.json").read_text())
    assert record["recipe"]["inputs"]["language"]["model"] != str(chat_folder)  # its content counts, not its place
    assert record["counts"]["by_grammar"] == len((place / "prompts.jsonl").read_text().splitlines()) == 4
    rows = [json.loads(line) for line in (place / "transcript.jsonl").read_text().splitlines()]
    assert len(rows) == record["counts"]["requests"] == 4
    assert len({row["answer"] for row in rows}) == 4
    assert chat_server.asked == []
    code, told, _ = language_run(*sets, agent="instruct")
    assert code == 0
    assert "1 of them from earlier runs" in told


@pytest.mark.parametrize(("settings", "words"), [
    (["experiment.prompts.language.model=''"], "experiment.prompts.language.model is empty"),
    (["execution.endpoint.url=localhost:8000"], "execution.endpoint.url: expected an address such as"),
    (["execution.endpoint.url=http://me:hunter2@localhost/v1"], "holds a user name, a password or a query"),
    (["execution.endpoint.key_variable=sk-hunter2"], "expected the name of an environment variable"),
    (["execution.endpoint.key_variable=SYN4SEG_NO_KEY"], "the environment variable SYN4SEG_NO_KEY is not set"),
    (["experiment.prompts.agent=replay"], "experiment.prompts.language.transcript is empty"),
    (["experiment.prompts.agent=replay", "experiment.prompts.language.transcript=/none"], "cannot read the transcript"),
    (["experiment.prompts.agent=instruct"], "no chat model at 'tiny': give a folder with config.json"),
])  # fmt: skip
def test_what_an_agent_lacks_is_told_before_any_work(language_run, chat_server, settings, words):
    """Missing models, addresses, keys and transcripts are one sentence, without the secret that was given."""
    code, _, complaint = language_run("experiment.seed=7", *settings)
    assert code == 2
    assert words in complaint
    assert "hunter2" not in complaint
    assert chat_server.asked == []


def test_new_settings_leave_old_banks_known():
    """The recipe of a picto bank is what it was before there were language models; other agents and words change it."""
    recipe = prompts_step(load_config(None), "boat").recipe
    assert set(recipe) == {"version", "settings", "weights", "seed", "inputs"}
    assert recipe["settings"] == {"agent": "grammar", "per_class": 40, "max_similarity": 0.93, "enabled": True}
    assert recipe["inputs"] == {"class": "boat", "dataset": "picto"}
    model = ["experiment.prompts.agent=endpoint", "experiment.prompts.language.model=m"]

    def asked(*more):
        return prompts_step(load_config(None, [*model, *more]), "boat").recipe

    for changed in ("language.model=n", "language.temperature=0.1", "language.max_tokens=99", "language.requests=3"):
        assert asked(f"experiment.prompts.{changed}") != asked()
    for place in ("url=http://localhost:1/v1", "key_variable=KEY", "timeout=3", "retries=1"):
        assert asked(f"execution.endpoint.{place}") == asked()
    unread = load_config(None, ["experiment.prompts.language.model=m"])
    assert prompts_step(unread, "boat").recipe == recipe
