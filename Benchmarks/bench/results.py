"""What one workload gave, in the shape of results.json: reports are made from that file's content alone, so
that a part can be measured anew."""

import json
import os
import statistics


class Result:
    """samples[proxy]: one dictionary of numbers for each round, or None where the round failed.
    `errors` and `left_out`: proxy → a sentence."""

    def __init__(self, record):
        self.record = record

    @classmethod
    def new(cls, name, title, group, proxies=()):
        return cls({"name": name, "title": title, "group": group, "samples": {proxy: [] for proxy in proxies},
                    "errors": {}, "left_out": {}})

    @property
    def name(self):
        return self.record["name"]

    @property
    def title(self):
        return self.record["title"]

    @property
    def group(self):
        return self.record["group"]

    @property
    def samples(self):
        return self.record["samples"]

    @property
    def errors(self):
        return self.record["errors"]

    @property
    def left_out(self):
        return self.record["left_out"]

    def values(self, proxy, metric):
        rounds = self.samples.get(proxy, [])
        return [sample[metric] for sample in rounds if sample and sample.get(metric) is not None]

    def median(self, proxy, metric):
        """None when nothing was measured."""
        values = self.values(proxy, metric)
        return statistics.median(values) if values else None

    def ratio(self, proxy, peer, metric="total"):
        """Median over the rounds of the proxy's figure by the peer's in the same round; None without a pair."""
        pairs = zip(self.samples.get(proxy, []), self.samples.get(peer, []))
        ratios = [one[metric] / other[metric] for one, other in pairs
                  if one and other and one.get(metric) is not None and other.get(metric)]
        return statistics.median(ratios) if ratios else None


def load(folder):
    """The record that an earlier run left, or an empty one."""
    try:
        with open(os.path.join(folder, "results.json")) as file:
            record = json.load(file)
    except (OSError, json.JSONDecodeError):
        record = {}
    return record if "workloads" in record else {"workloads": {}}


def save(folder, record):
    with open(os.path.join(folder, "results.json"), "w") as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
