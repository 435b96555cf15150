"""Which queues a complete tick looks at."""

from itertools import chain

from pgjobs.worker.rounds import MAX_PAIRS, Rounds

QUEUES = [f"q{n}" for n in range(500)]
TYPES = [f"t{n}" for n in range(200)]


def test_a_worker_of_few_queues_and_types_looks_at_all_in_each_tick():
    rounds = Rounds(["a", "b"], TYPES)
    assert [sorted(rounds.next()) for _ in range(3)] == [["a", "b"]] * 3


def test_a_worker_of_many_looks_at_all_within_a_round_and_never_at_more_than_the_bound():
    rounds = Rounds(QUEUES, TYPES)
    for _ in range(2):
        parts = [rounds.next() for _ in range(20)]
        assert sorted(chain(*parts)) == sorted(QUEUES)
        assert max(map(len, parts)) * len(TYPES) <= MAX_PAIRS


def test_a_queue_that_was_heard_of_is_looked_at_in_the_next_tick_alone():
    rounds = Rounds(QUEUES, TYPES)
    heard_of = set(QUEUES) - set(rounds.next())
    rounds = Rounds(QUEUES, TYPES)
    for queue in heard_of:
        rounds.hear(queue)
    assert sorted(rounds.next()) == sorted(QUEUES)
    assert len(rounds.next()) == 25


def test_after_missed_signals_the_next_tick_looks_at_all():
    rounds = Rounds(QUEUES, TYPES)
    rounds.hear_of_all()
    assert sorted(rounds.next()) == sorted(QUEUES)


def test_one_queue_with_more_types_than_the_bound_is_looked_at_in_each_tick():
    rounds = Rounds(["a"], [f"t{n}" for n in range(3 * MAX_PAIRS)])
    assert [rounds.next() for _ in range(2)] == [["a"]] * 2


def test_a_worker_without_types_still_ticks():
    assert Rounds(["a"], []).next() == ["a"]
