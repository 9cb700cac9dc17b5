from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from sinks.families import page
from sinks.follower_metrics import FollowerMetrics, FollowerStats


def test_a_follower_says_how_far_it_is_and_what_it_could_not_do():
    stats = FollowerStats("webhook", True, 7, 2.5, {"decisions": 40}, {"decisions": 2}, 3, 1)
    shown = {}
    for family in text_string_to_metric_families(page(FollowerMetrics(lambda: stats)).decode()):
        for sample in family.samples:
            assert sample.labels["sink"] == "webhook"
            shown[sample.name, sample.labels.get("topic")] = sample.value
    assert shown == {
        ("gpu_vitals_log_unavailable", None): 1.0,
        ("gpu_vitals_sink_lag_records", None): 7.0,
        ("gpu_vitals_sink_lag_seconds", None): 2.5,
        ("gpu_vitals_sink_records_total", "decisions"): 40.0,
        ("gpu_vitals_sink_unreadable_total", "decisions"): 2.0,
        ("gpu_vitals_sink_retries_total", None): 3.0,
        ("gpu_vitals_sink_dead_letters_total", None): 1.0,
    }
