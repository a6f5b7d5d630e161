"""The trainer: its loss is the formula, whatever the padding and the micro-batches; checkpoints are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from students import SMALL, clean_segments, depot_student, depot_tokenizer, untrained
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentdistill.errors import NothingSupervisedError, UsageError
from agentdistill.losses import READY, LossInputs, LossOutput, LossSpec, load_loss, masked_cross_entropy, needs
from agentdistill.policies.tiny import make_student, make_tokenizer
from agentdistill.records import PreferencePair, Segment
from agentdistill.training import (
    MARKER,
    Pool,
    Progress,
    TrainingConfig,
    checkpoint_facts,
    save_checkpoint,
    train,
)
from agentdistill.training.packing import Batch, micro_batches

SHORT = TrainingConfig(steps=4, tokens_per_step=150, learning_rate=1e-2)


def row(length: int, supervised: int, name: str = "row", seed: int = 0) -> Segment:
    """A segment of random ids whose last tokens carry loss."""
    ids = np.random.default_rng(seed).integers(0, 100, length).tolist()
    mask = [False] * (length - supervised) + [True] * supervised
    return Segment(id=name, kind="clean", trajectory_id=name, input_ids=tuple(ids), loss_mask=tuple(mask))


def rows(count: int = 6, seed: int = 0) -> list[Segment]:
    luck = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(luck.integers(3, 40))
        made.append(row(length, int(luck.integers(1, length)), str(number), int(luck.integers(1000))))
    return made


def alike(count: int, seed: int, shared: int) -> list[Segment]:
    """Rows that begin with the same ids, some of them longer than others."""
    luck = np.random.default_rng(seed)
    common = luck.integers(0, 100, shared).tolist()
    made = []
    for each in rows(count, seed):
        lead = common[: int(luck.integers(0, shared + 1))]
        ids, mask = (*lead, *each.input_ids), (*(bool(x) for x in luck.random(len(lead)) < 0.2), *each.loss_mask)
        made.append(each.model_copy(update={"input_ids": ids, "loss_mask": mask}))
    return made


def supervised(row: Segment) -> int:
    return sum(row.loss_mask[1:])


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def full_row(length: int, supervised: int, name: str, seed: int) -> Segment:
    """A row that says everything of its tokens that any loss may want."""
    luck = np.random.default_rng(seed)
    told: dict[str, Any] = {
        "weights": tuple((0.5 + luck.random(length)).tolist()),
        "logprobs": tuple((-4 * luck.random(length)).tolist()),
        "teacher_logprobs": tuple((-4 * luck.random(length)).tolist()),
        "by_teacher": tuple((luck.random(length) < 0.5).tolist()),
    }
    return row(length, supervised, name, seed).model_copy(update=told)


def full_rows(count: int, seed: int = 0) -> list[Segment]:
    luck = np.random.default_rng(seed)
    lengths = luck.integers(3, 40, count).tolist()
    return [full_row(n, int(luck.integers(1, n)), f"{seed}-{i}", seed + i) for i, n in enumerate(lengths)]


def pairs(count: int, seed: int = 0) -> list[PreferencePair]:
    sides = full_rows(2 * count, seed)
    return [
        PreferencePair(
            id=f"pair-{seed}-{at}",
            trajectory_id="t",
            step=1,
            chosen=sides[2 * at],
            rejected=sides[2 * at + 1],
            source="takeover",
        )
        for at in range(count)
    ]


def one_step(pools: Sequence[Pool], most_tokens: int) -> tuple[Progress, dict[str, torch.Tensor]]:
    """What one optimiser step says, and the gradients it was made with."""
    with double():
        model, teacher = untrained().double(), untrained(1).double()
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda value: found.update({name: found.get(name, torch.zeros_like(value)) + value})

    for name, value in model.named_parameters():
        value.register_hook(keep(name))
    seen: list[Progress] = []
    config = TrainingConfig(steps=1, tokens_per_step=150, micro_batch_tokens=most_tokens)
    with double():
        train(model, pools, config, 0, seen.append, teacher=teacher)
    return seen[0], found


@pytest.mark.parametrize("name", READY)
def test_padding_and_micro_batches_change_neither_loss_nor_gradients(name):
    made = pairs(8) if name == "dpo" else full_rows(8)
    pool = Pool(made, 1.0, load_loss(LossSpec(name=name)))
    # One row (or pair) at a time: no padding, and no company.
    said, alone = one_step([pool], 1)
    for most_tokens in (90, 10_000):
        again, found = one_step([pool], most_tokens)
        assert again.loss == pytest.approx(said.loss, rel=1e-9)
        assert again.metrics == pytest.approx(said.metrics, rel=1e-9)
        assert found.keys() == alone.keys()
        for parameter, value in found.items():
            assert torch.allclose(value, alone[parameter], rtol=1e-6, atol=1e-9), parameter


def way(batch: Batch, index: int) -> list[int]:
    """The ids that a row's last predicted token comes after, as they lie in a batch."""
    last = int(batch.predictors[batch.row == index][-1])
    if batch.forest is None:
        length = batch.ids.shape[1]
        return batch.ids[last // length, : last % length + 1].tolist()
    node = next(each for each in batch.forest.nodes if each.start <= last < each.stop)
    above = [batch.forest.nodes[each] for each in node.above]
    return [
        *(each for n in above for each in batch.ids[0, n.start : n.stop].tolist()),
        *batch.ids[0, node.start : last + 1].tolist(),
    ]


@given(st.integers(0, 2**31), st.integers(1, 200), st.booleans(), st.integers(0, 25))
@settings(max_examples=60)
def test_micro_batches_hold_every_row_once_and_no_more_tokens_than_allowed(seed, most_tokens, packed, shared):
    made = alike(7, seed, shared)
    batches = micro_batches(made, most_tokens, packed=packed)
    for batch in batches:
        assert batch.ids.shape == batch.positions.shape
        assert batch.computed <= most_tokens or len(batch.rows) == 1
        assert len(batch.predictors) == len(batch.row) == len(batch.said) == sum(map(supervised, batch.rows))
        flat, positions = batch.ids.flatten(), batch.positions.flatten()
        for index, each in enumerate(batch.rows):
            places = [place for place, counts in enumerate(each.loss_mask) if counts and place]
            mine = batch.row == index
            assert batch.said[mine].tolist() == [each.input_ids[place] for place in places]
            assert positions[batch.predictors[mine]].tolist() == [place - 1 for place in places]
            assert flat[batch.predictors[mine]].tolist() == [each.input_ids[place - 1] for place in places]
            assert way(batch, index) == list(each.input_ids[: places[-1]])
    assert sorted(each.id for batch in batches for each in batch.rows) == sorted(each.id for each in made)


def test_what_rows_begin_with_alike_is_computed_once():
    root, other = tuple(range(100, 140)), tuple(range(50, 60))
    ways = [(*root, 1, 2, 3), (*root, *other, 4, 5), (*root, *other, 6, 7, 8)]
    made = [
        Segment(
            id=str(at),
            kind="recovery",
            trajectory_id="t",
            input_ids=ids,
            loss_mask=(False,) * 40 + (True,) * (len(ids) - 40),
        )
        for at, ids in enumerate(ways)
    ]
    (batch,) = micro_batches(made, 1000)
    assert batch.computed == 40 + 2 + 10 + 1 + 2  # the last token of each row predicts nothing
    (padded,) = micro_batches(made, 1000, packed=False)
    assert padded.computed == 3 * 52


def parameters(config: TrainingConfig, seed: int, **settings: Any) -> dict[str, torch.Tensor]:
    with double():
        model = untrained().double()
    train(model, [Pool(rows(20), 1.0)], config, seed, **settings)
    return {name: value.detach() for name, value in model.named_parameters()}


def test_the_size_of_micro_batches_does_not_change_the_student():
    one, other = (parameters(SHORT.model_copy(update={"micro_batch_tokens": n}), 0) for n in (1, 8192))
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)


def test_the_same_seed_is_the_same_student_and_another_is_another():
    one, again, other = parameters(SHORT, 0), parameters(SHORT, 0), parameters(SHORT, 1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_training_moves_the_loss_down_along_the_schedule():
    seen: list[Progress] = []
    config = TrainingConfig(steps=30, tokens_per_step=200, learning_rate=1e-2, warmup=0.1, final_rate=0.1)
    total = train(untrained(), [Pool(clean_segments(), 1.0)], config, 0, seen.append)
    assert [each.step for each in seen] == list(range(1, 31))
    assert seen[-1].loss < seen[0].loss / 2
    rates = [each.learning_rate for each in seen]
    assert max(rates) == rates[2] == pytest.approx(1e-2)
    assert rates[:3] == sorted(rates[:3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 1e-3 <= rates[-1] < 1.2e-3
    assert sum(each.supervised_tokens for each in seen) == total
    assert total == pytest.approx(30 * 200, rel=0.1)


class Fed:
    """A loss that notes which rows it is given, by the tokens of theirs that carry loss."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []

    def __call__(self, inputs: LossInputs) -> LossOutput:
        for ids, mask in zip(inputs.input_ids, inputs.loss_mask, strict=True):
            self.rows.append(tuple(ids[mask].tolist()))
        return masked_cross_entropy(inputs)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_pools_are_mixed_by_supervised_tokens_however_long_their_rows_are(share):
    many, few = [row(30, 3, f"a{n}", n) for n in range(9)], [row(30, 20, f"b{n}", 50 + n) for n in range(4)]
    fed = Fed()
    config = TrainingConfig(steps=20, tokens_per_step=100)
    train(untrained(), [Pool(many, share, fed), Pool(few, 1 - share, fed)], config, 0)
    of_many = {each.input_ids[-3:] for each in many}
    tokens = sum(3 for each in fed.rows if each in of_many)
    other = sum(20 for each in fed.rows if each not in of_many)
    assert tokens / (tokens + other) == pytest.approx(share, abs=0.02)


def test_every_row_of_a_pool_is_used_before_any_is_used_again():
    made = [row(10, 5, str(n), n) for n in range(8)]
    fed = Fed()
    train(untrained(), [Pool(made, 1.0, fed)], TrainingConfig(steps=6, tokens_per_step=20), 0)
    counts = [fed.rows.count(each.input_ids[-5:]) for each in made]
    assert set(counts) == {3}


def test_recoveries_from_one_state_are_drawn_together_and_their_context_is_computed_once():
    made = []
    for state in range(6):
        context = np.random.default_rng(state).integers(0, 100, 60).tolist()
        for way in range(4):
            ids = (*context, *np.random.default_rng(100 + 10 * state + way).integers(0, 100, 6).tolist())
            row = Segment(
                id=f"{state}-{way}",
                kind="recovery",
                trajectory_id="t",
                input_ids=ids,
                loss_mask=(False,) * 60 + (True,) * 6,
            )
            made.append(row)
    seen: list[Progress] = []
    fed = Fed()
    train(untrained(), [Pool(made, 1.0, fed)], TrainingConfig(steps=6, tokens_per_step=24), 0, seen.append)
    assert [each.computed_tokens for each in seen] == [60 + 4 * 5] * 6
    assert sorted(fed.rows) == sorted(each.input_ids[-6:] for each in made)


# ---- pools with losses of their own ----------------------------------------------------------------------------------


def test_cross_entropy_named_in_a_config_trains_the_same_student_bit_by_bit_as_no_loss_named():
    made, plain = clean_segments(), load_loss(LossSpec.model_validate("masked_cross_entropy"))
    config = TrainingConfig(steps=6, tokens_per_step=300, learning_rate=1e-2, micro_batch_tokens=3000)
    one, other = untrained(), untrained()
    train(one, [Pool(made[:12], 0.3), Pool(made[12:], 0.7)], config, 5)
    train(other, [Pool(made[:12], 0.3, plain), Pool(made[12:], 0.7)], config, 5)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_pools_of_different_losses_share_the_supervised_tokens_of_the_step():
    """Half the tokens by one loss and half by another is what the mean over all of them would be."""
    here, there = full_rows(5), full_rows(5, 50)
    mixed, _ = one_step([Pool(here, 0.5), Pool(there, 0.5, load_loss(LossSpec(name="forward_kl")))], 10_000)
    heard: list[LossInputs] = []

    def listening(inputs: LossInputs) -> LossOutput:
        heard.append(inputs)
        return masked_cross_entropy(inputs)

    one_step([Pool(here, 0.5, listening), Pool(there, 0.5, load_loss(LossSpec(name="forward_kl")))], 10_000)
    assert {each.normaliser for each in heard} == {mixed.supervised_tokens}
    assert sum(int(each.loss_mask.sum()) for each in heard) == pytest.approx(mixed.supervised_tokens / 2, rel=0.3)


@pytest.mark.parametrize("precision", ["full", "float16"])
def test_no_step_is_without_a_row_however_many_tokens_one_has(precision):
    seen: list[Progress] = []
    config = TrainingConfig(steps=4, tokens_per_step=3, precision=precision)
    train(untrained(), [Pool([row(30, 20, str(n), n) for n in range(3)], 1.0)], config, 0, seen.append)
    assert [each.supervised_tokens for each in seen] == [20] * 4


def test_what_pairs_of_two_pools_measure_is_a_mean_over_all_of_them():
    def sure(inputs: LossInputs) -> LossOutput:
        return LossOutput(0 * inputs.logits.sum(), {"pairs": len(inputs.input_ids) / 2 / inputs.normaliser})

    sure.needs = ("pairs",)  # type: ignore[attr-defined]
    said, _ = one_step([Pool(pairs(9), 0.2, sure), Pool(pairs(3), 0.8, sure)], 200)
    assert said.metrics["sure/pairs"] == pytest.approx(1)


def test_the_reference_is_found_as_the_student_is_trained():
    """In the precision of the passes: at first nothing is likelier than it was."""
    model, seen = untrained(), list[Progress]()
    config = TrainingConfig(steps=1, tokens_per_step=200, precision="bfloat16")
    train(model, [Pool(pairs(4), 1.0, load_loss(LossSpec(name="dpo")))], config, 0, seen.append)
    assert seen[0].metrics["dpo/margin"] == pytest.approx(0, abs=1e-7)


def test_rows_that_know_as_many_likely_tokens_ask_no_teacher_and_others_do():
    few = [
        each.model_copy(update={"teacher_top": (((0, -1.0),) * k,) * len(each.input_ids)})
        for k, each in zip((1, 2), full_rows(2), strict=True)
    ]
    train(untrained(), [Pool(few[:1], 1.0, load_loss(LossSpec(name="reverse_kl")))], SHORT, 0)
    pool = Pool(few, 1.0, load_loss(LossSpec(name="reverse_kl")))
    with pytest.raises(UsageError, match="needs a teacher"):
        train(untrained(), [pool], SHORT, 0)
    train(untrained(), [pool], SHORT, 0, teacher=untrained(1))


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_a_pool_of_pairs_adds_the_mean_over_its_pairs_times_its_share(share):
    def nothing(inputs: LossInputs) -> LossOutput:
        return LossOutput(0 * inputs.logits.sum())

    pools = [Pool(pairs(20), share, load_loss(LossSpec(name="dpo")))]
    said, _ = one_step(pools if share == 1 else [Pool(full_rows(6), 1 - share, nothing), *pools], 200)
    # The reference is the student itself, at first: each pair's loss is ln 2.
    assert said.loss == pytest.approx(share * np.log(2), rel=1e-9)
    assert said.metrics["dpo/margin"] == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(1, 300))
@settings(max_examples=30)
def test_both_sides_of_a_pair_stand_together_the_chosen_one_first(seed, most_tokens):
    made = pairs(5, seed % 1000)
    found = []
    for batch in micro_batches(made, most_tokens):
        assert batch.paired
        assert batch.computed <= most_tokens or len(batch.rows) == 2
        found += list(zip(batch.rows[0::2], batch.rows[1::2], strict=True))
    assert sorted(found, key=str) == sorted([(each.chosen, each.rejected) for each in made], key=str)


def test_what_a_row_says_of_its_tokens_reaches_the_loss_and_what_it_does_not_say_is_unknown():
    heard: list[LossInputs] = []

    def listening(inputs: LossInputs) -> LossOutput:
        heard.append(inputs)
        return masked_cross_entropy(inputs)

    long, short = full_row(9, 4, "long", 3), row(5, 2, "short", 4)
    one_step([Pool([long, short], 1.0, listening)], 10_000)
    inputs = heard[0]  # row by row, the tokens that carry loss, behind one that is predicted by nothing
    at = inputs.loss_mask.sum(dim=1).tolist().index(4)
    plain = inputs.loss_mask.sum(dim=1).tolist().index(2)
    assert inputs.loss_mask[at].tolist() == [False, True, True, True, True]
    assert inputs.loss_mask[plain].tolist() == [False, True, True, False, False]
    assert tuple(inputs.input_ids[at, 1:].tolist()) == long.input_ids[-4:]
    assert tuple(inputs.input_ids[plain, 1:3].tolist()) == short.input_ids[-2:]
    for name in ("weights", "logprobs", "teacher_logprobs", "by_teacher"):
        assert tuple(getattr(inputs, name)[at, 1:].tolist()) == getattr(long, name)[-4:]
    assert (inputs.weights[plain] == 1).all()
    assert inputs.logprobs[plain].isnan().all()
    assert inputs.teacher_logprobs[plain].isnan().all()
    assert not inputs.by_teacher[plain].any()
    assert inputs.teacher_logits is None
    assert inputs.reference_logprobs is None


def test_the_reference_is_the_student_as_it_was_before_the_first_step():
    heard: list[LossInputs] = []

    @needs("reference_logprobs")
    def listening(inputs: LossInputs) -> LossOutput:
        heard.append(inputs)
        return masked_cross_entropy(inputs)

    model, made = untrained(), full_rows(4)
    config = TrainingConfig(steps=5, tokens_per_step=150, learning_rate=1e-2)
    train(model, [Pool(made, 1.0, listening)], config, 0)
    fresh = untrained()
    expected = []
    for each in made:
        with torch.no_grad():
            scores = torch.log_softmax(fresh(input_ids=torch.tensor([each.input_ids])).logits[0], dim=-1)
        places = [place for place, counts in enumerate(each.loss_mask) if counts and place]
        expected += [scores[place - 1, each.input_ids[place]].item() for place in places]
    assert heard
    for inputs in heard:
        assert inputs.reference_logprobs is not None
        known = inputs.reference_logprobs[inputs.loss_mask].tolist()
        assert all(min(abs(one - other) for other in expected) < 1e-5 for one in known)
        assert inputs.reference_logprobs[~inputs.loss_mask].isnan().all()


class Counted:
    """Counts how often a model is run on training rows, which have ids below 100."""

    def __init__(self, model: Any) -> None:
        self.model, self.times = model, 0
        model.base_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, arguments: Any, named: dict[str, torch.Tensor]) -> None:
        self.times += bool((named["input_ids"] < 100).all())


def test_teacher_and_reference_are_only_asked_where_a_loss_needs_them():
    student, teacher = Counted(untrained()), Counted(untrained(1))
    train(student.model, [Pool(full_rows(4), 1.0)], SHORT, 0, teacher=teacher.model)
    assert (student.times, teacher.times) == (SHORT.steps, 0)
    train(
        student.model,
        [Pool(full_rows(4), 1.0, load_loss(LossSpec(name="reverse_kl")))],
        SHORT,
        0,
        teacher=teacher.model,
    )
    assert (student.times, teacher.times) == (2 * SHORT.steps, SHORT.steps)
    free = load_loss(LossSpec(name="dpo", options={"reference_free": True}))
    train(student.model, [Pool(pairs(4), 1.0, free)], SHORT, 0)
    assert student.times == 3 * SHORT.steps
    train(student.model, [Pool(pairs(4), 1.0, load_loss(LossSpec(name="dpo")))], SHORT, 0)
    assert student.times == 4 * SHORT.steps + 1


def test_the_teacher_is_not_trained_with_the_student():
    teacher = untrained(1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    train(untrained(), [Pool(full_rows(4), 1.0, load_loss(LossSpec(name="reverse_kl")))], SHORT, 0, teacher=teacher)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(value.grad is None for value in teacher.parameters())


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon"])
def test_a_student_comes_nearer_to_its_teacher(name):
    seen: list[Progress] = []
    config = TrainingConfig(steps=40, tokens_per_step=300, learning_rate=1e-2)
    teacher, loss = depot_student().model, load_loss(LossSpec(name=name))
    train(untrained(), [Pool(clean_segments(), 1.0, loss)], config, 0, seen.append, teacher=teacher)
    assert seen[-1].loss < 0.5 * seen[0].loss


def test_dpo_makes_the_chosen_side_likelier_than_the_other():
    seen: list[Progress] = []
    config = TrainingConfig(steps=30, tokens_per_step=100, learning_rate=3e-3)
    loss = load_loss(LossSpec(name="dpo", options={"anchor": 0.1}))
    train(untrained(), [Pool(pairs(6), 1.0, loss)], config, 0, seen.append)
    assert seen[0].metrics["dpo/accuracy"] == 0
    assert seen[-1].metrics["dpo/accuracy"] == pytest.approx(1)
    assert seen[-1].metrics["dpo/margin"] > 1


class Untouched:
    """A student that must not have been trained or run when a mistake in the settings is told."""

    def __init__(self) -> None:
        self.counted = Counted(untrained())

    def refuses(self, pool: Pool, told: str, **settings: Any) -> None:
        with pytest.raises(UsageError, match=told):
            train(self.counted.model, [pool], SHORT, 0, **settings)
        assert self.counted.times == 0


def test_rows_that_do_not_fit_their_loss_are_told_before_training_begins():
    student = Untouched()
    by_name = {name: load_loss(LossSpec(name=name)) for name in READY}
    student.refuses(Pool(rows(3), 1.0, by_name["dpo"]), "dpo was given segments, and learns from preference pairs")
    student.refuses(Pool(pairs(3), 1.0), "masked_cross_entropy was given preference pairs, and learns from segments")
    mixture: Any = [*pairs(2), *rows(2)]
    student.refuses(Pool(mixture, 1.0, by_name["dpo"]), "learns from preference pairs")
    student.refuses(Pool(rows(3), 1.0, by_name["reverse_kl_policy_gradient"]), "needs logprobs, and the row 0 has")
    student.refuses(Pool(rows(3), 1.0, by_name["by_owner"]), "needs by_teacher", teacher=untrained())
    holed = full_row(9, 4, "holed", 0)
    holed = holed.model_copy(update={"teacher_logprobs": (*holed.teacher_logprobs[:-1], float("nan"))})
    student.refuses(
        Pool([holed], 1.0, by_name["reverse_kl_policy_gradient"]), "needs teacher_logprobs, and the row holed"
    )
    ragged = row(9, 4).model_copy(update={"weights": (1.0, 1.0)})
    student.refuses(Pool([ragged], 1.0), "has not one entry of weights for each of its tokens")


def test_a_teacher_of_another_vocabulary_or_none_at_all_is_told_before_training_begins():
    pool = Pool(rows(3), 1.0, load_loss(LossSpec(name="forward_kl")))
    Untouched().refuses(pool, "forward_kl needs a teacher that gives logits")
    tokenizer = make_tokenizer(["quite another tokenizer"], SMALL.model_copy(update={"vocabulary": 300}))
    other = make_student(tokenizer, SMALL, 0)
    Untouched().refuses(
        pool, rf"the student has {len(depot_tokenizer())} tokens and the teacher {len(tokenizer)}", teacher=other
    )


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_pair_with_a_side_that_says_nothing_is_refused(side):
    (pair,) = pairs(1)
    silent = pair.model_copy(update={side: row(5, 0)})
    with pytest.raises(NothingSupervisedError):
        train(untrained(), [Pool([silent], 1.0, load_loss(LossSpec(name="dpo")))], SHORT, 0)


@pytest.mark.parametrize("bad", [[], [row(5, 0)], [row(5, 2), row(5, 0)]])
def test_a_pool_with_nothing_to_learn_from_is_refused(bad):
    with pytest.raises(NothingSupervisedError):
        train(untrained(), [Pool([row(5, 2)], 0.5), Pool(bad, 0.5)], SHORT, 0)


def test_a_checkpoint_loads_with_the_auto_classes_and_says_what_was_said_of_it(tmp_path):
    model, folder = untrained(), tmp_path / "student"
    save_checkpoint(model, depot_tokenizer(), folder, {"optimiser_steps": 3})
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert checkpoint_facts(folder) == {"optimiser_steps": 3}
    assert list(folder.glob("*.safetensors"))
    assert not list(folder.glob("*.bin"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    chat = [{"role": "user", "content": "ship: bolt red"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == depot_tokenizer().apply_chat_template(
        chat, tokenize=False
    )
    assert tokenizer.encode("took bolt") == depot_tokenizer().encode("took bolt")


def test_how_far_a_training_is_stays_known_until_the_student_is_kept(tmp_path):
    model, state = untrained(), tmp_path / "state"
    train(model, [Pool(rows(20), 1.0)], SHORT.model_copy(update={"save_every": 1}), 0, state=state)
    assert checkpoint_facts(state) is not None
    save_checkpoint(model, depot_tokenizer(), tmp_path / "student", {}, state=state)
    assert [each.name for each in tmp_path.iterdir()] == ["student"]


def test_a_checkpoint_without_its_marker_is_not_there(tmp_path):
    folder = tmp_path / "student"
    assert checkpoint_facts(folder) is None
    save_checkpoint(untrained(), depot_tokenizer(), folder, {})
    assert checkpoint_facts(folder) == {}
    (folder / MARKER).write_text('{"half')
    assert checkpoint_facts(folder) is None
    (folder / MARKER).unlink()
    assert checkpoint_facts(folder) is None


def test_a_checkpoint_replaces_another_and_what_a_kill_left(tmp_path):
    folder, partial = tmp_path / "student", tmp_path / "student.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"torn")
    save_checkpoint(untrained(0), depot_tokenizer(), folder, {"n": 1})
    save_checkpoint(untrained(1), depot_tokenizer(), folder, {"n": 2})
    assert checkpoint_facts(folder) == {"n": 2}
    assert json.loads((folder / MARKER).read_text()) == {"n": 2}
    assert not partial.exists()
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in untrained(1).state_dict().items())
