"""Numbers of a process: names that clients make up do not fill its memory."""

from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.metrics import DEPLOYMENTS_KEPT, OTHERS, Metrics


def test_of_deployments_without_end_the_later_ones_share_their_numbers() -> None:
    metrics = Metrics()
    for number in range(DEPLOYMENTS_KEPT + 2):
        metrics.called(f"p/{number}", Settlement(Usage(1, 2), "failed"))
    metrics.called("p/0", Settlement(Usage(1, 2), "failed"))
    text = metrics.text().decode()
    assert text.count("chatbackend_upstream_calls_total{") == DEPLOYMENTS_KEPT + 1
    assert f'gen_ai_client_token_usage_total{{gen_ai_request_model="{OTHERS}",gen_ai_token_type="output"}} 4.0' in text
    assert 'chatbackend_upstream_calls_total{gen_ai_request_model="p/0",outcome="failed"} 2.0' in text
