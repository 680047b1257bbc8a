"""The event file of a run, read by the tensorboard package, against the run's log.jsonl."""
import json
import math
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = sys.argv[1]
events = EventAccumulator(folder, size_guidance={"scalars": 0})
events.Reload()

expected = {}
for line in open(f"{folder}/log.jsonl"):
    event = json.loads(line)
    curve = "train" if event["event"] == "step" else event["event"]
    for name, value in event.items():
        if type(value) in (int, float) and name not in ("step", "seconds"):
            expected.setdefault(f"{curve}/{name}", []).append((event["step"], value))

assert sorted(events.Tags()["scalars"]) == sorted(expected), (events.Tags()["scalars"], sorted(expected))
for tag, values in expected.items():
    read = events.Scalars(tag)
    assert [e.step for e in read] == [step for step, _ in values], tag
    for e, (_, value) in zip(read, values):
        assert math.isclose(e.value, value, rel_tol=1e-6, abs_tol=1e-30), (tag, e.value, value)
    assert all(1.5e9 < e.wall_time < 4e9 for e in read)
print(f"{len(expected)} curves, {sum(map(len, expected.values()))} values")
