"""The two backends of language models: a chat endpoint on the loopback, and a tiny chat model of transformers."""

import json
import logging
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import torch

from pipeline.backends.endpoint import ChatEndpoint, _retry_after
from pipeline.backends.instruct import InstructModel
from pipeline.errors import InputError
from prompts.agents import GrammarAgent
from prompts.bank import PromptBank
from prompts.build import grow_bank
from prompts.language import WINDOW, LanguageAgent
from prompts.transcript import Transcript
from prompts.vocabulary import load_vocabulary

KEY = "sk-very-secret-7"
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Write a prompt: é"}]


def test_an_endpoint_is_asked_as_openai_says(chat_server):
    """Path, key, model, messages, seed and sampling are sent; the answer's text comes back without the key."""
    chat_server.replies = [f"a boat {KEY}", (200, {}, json.dumps({"choices": [{"message": {"content": None}}]}))]
    ask = ChatEndpoint(chat_server.url + "/", "tiny", key=KEY, temperature=0.5, max_tokens=99)
    assert ask(QUESTION, 12) == "a boat (key)"
    assert ask(QUESTION, 13) == ""
    path, headers, question = chat_server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert question == {"model": "tiny", "messages": QUESTION, "seed": 12, "temperature": 0.5, "max_tokens": 99}
    ChatEndpoint(chat_server.url, "tiny")(QUESTION, 0)
    assert "Authorization" not in chat_server.asked[2][1]


def test_trouble_that_passes_is_waited_for(chat_server):
    """429 with Retry-After, 503, silence: asked again, after what the server says or after twice the time."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    chat_server.replies = [(429, {"Retry-After": "7"}, ""), (503, {}, "busy"), 1.0, (429, {"Retry-After": date}, ""),
                           (500, {"Retry-After": "9999"}, ""), "a boat"]  # fmt: skip
    waits = []
    ask = ChatEndpoint(chat_server.url, "tiny", timeout=0.3, sleep=waits.append)
    assert ask(QUESTION, 0) == "a boat"
    assert waits[:3] == [7, 2, 4]
    assert 55 < waits[3] <= 60
    assert waits[4] == 120
    assert len({json.dumps(question) for _, _, question in chat_server.asked}) == 1
    assert _retry_after("soon") is None


@pytest.mark.parametrize(("reply", "message", "tries"), [
    ((500, {}, f'{{"error": {{"message": "broken, key {KEY}"}}}}'), r"asked 3 times, at last with 500 \(broken", 3),
    ((429, {}, "slow down"), r"429 \(slow down\): see whether the server is up, then run again", 3),
    (0.5, "no answer \\(ReadTimeout", 3),
    ((401, {}, f"Incorrect API key {KEY}"), "refused the key with 401: see execution.endpoint.key_variable", 1),
    ((404, {}, '{"error": "no such model"}'), r"404 \(no such model\): see execution.endpoint.url and", 1),
    ((400, {}, "bad"), "refused the question with 400", 1),
    ((302, {"Location": "/elsewhere"}, ""), "refused the question with 302", 1),
    ((200, {}, "<html>hello</html>"), "answered no chat completion .*mostly ends in /v1", 1),
    ((200, {}, '{"choices": []}'), "answered no chat completion", 1),
])  # fmt: skip
def test_trouble_that_stays_is_one_sentence(chat_server, caplog, reply, message, tries):
    """After the last try the error says what was asked, what came and what to do, never the key."""
    caplog.set_level(logging.DEBUG)
    chat_server.replies = [reply]
    ask = ChatEndpoint(chat_server.url, "tiny", key=KEY, timeout=0.2, retries=2, sleep=lambda _: None)
    with pytest.raises(InputError, match=message) as error:
        ask(QUESTION, 0)
    assert chat_server.url in str(error.value)
    assert KEY not in str(error.value) + repr(error.value.__cause__) + caplog.text
    assert len(chat_server.asked) == tries


def test_nobody_listens(chat_server):
    """A refused connection is told like any other trouble that stays."""
    url = chat_server.url
    chat_server.server_close()
    with pytest.raises(InputError, match=r"was asked once, at last with no answer \(ConnectError"):
        ChatEndpoint(url, "tiny", retries=0)(QUESTION, 0)


def test_a_chat_model_answers_by_its_template_and_seed(chat_folder):
    """The same seed gives the same answer, another one another; greedy decoding needs none; global state stays."""
    ask = InstructModel.from_folder(chat_folder, max_tokens=64)
    before = torch.get_rng_state()
    answers = [ask(QUESTION, seed) for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    assert answers[0]
    assert "Write a prompt" not in answers[0]
    assert torch.equal(torch.get_rng_state(), before)
    greedy = InstructModel.from_folder(chat_folder, temperature=0, max_tokens=64)
    assert greedy(QUESTION, 1) == greedy(QUESTION, 2)


def test_what_a_random_model_says_is_refused_and_the_grammar_goes_on(chat_folder):
    """Garbage of a real model through the real loop: no sentence of it is kept, and the grammar fills the bank."""
    ask, words = InstructModel.from_folder(chat_folder, max_tokens=64), load_vocabulary("picto")
    transcript = Transcript("boat", [], ask, lambda _: None)
    agent = LanguageAgent(words, "boat", transcript.ask, 0, 50)

    def encode(sentences):
        rows = [[len(s), zlib.crc32(s.encode()) % 97, 1.0] for s in sentences]
        return torch.nn.functional.normalize(torch.tensor(rows)).numpy()

    growth = grow_bank(PromptBank(words, 0.99999), agent, encode, "boat", 3, fallback=GrammarAgent(words, 0))
    assert growth.by_fallback == len(growth.prompts) == 3
    assert len(transcript.used) == WINDOW


def test_wrong_chat_models_are_told_in_a_sentence(chat_folder, tmp_path):
    """No model, no template, missing weights and a question that is too long."""
    from safetensors.torch import load_file, save_file

    with pytest.raises(InputError, match="cannot be loaded"):
        InstructModel.from_folder(tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((chat_folder / name).read_bytes())
    with pytest.raises(InputError, match="has no chat template: choose one that is tuned"):
        InstructModel.from_folder(tmp_path)
    weights = load_file(chat_folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights such as model\.norm\.weight"):
        InstructModel.from_folder(tmp_path)
    ask = InstructModel.from_folder(chat_folder)
    with pytest.raises(InputError, match=r"reads 4096 tokens, and the question has \d+: choose one"):
        ask([{"role": "user", "content": "x" * 5000}], 0)
