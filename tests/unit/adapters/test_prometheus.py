import asyncio

import aiohttp
import pytest

from pipeline.adapters.http import serve_http
from pipeline.adapters.prometheus import PrometheusRecorder, metrics_app


def test_metrics_and_health_are_served() -> None:
    async def main() -> None:
        recorder = PrometheusRecorder()
        recorder.add("sekimori_enforce_requests_total", 2, "postfix", "dunno")
        runner = await serve_http(metrics_app(recorder, lambda: {"ready": False}), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{url}/metrics") as got:
                assert 'sekimori_enforce_requests_total{answer="dunno",hook="postfix"} 2.0' in await got.text()
            async with client.get(f"{url}/healthz") as got:
                assert await got.json() == {"ok": True, "ready": False}
        await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("health", "good"),
    [
        ({}, {"livez", "readyz", "healthz"}),
        ({"live": True, "ready": False}, {"livez", "healthz"}),
        ({"ok": False, "live": True, "ready": False}, {"livez"}),
        ({"ok": False, "live": False, "ready": False}, set()),
    ],
)
def test_health_has_a_status_of_its_own_where_it_is_bad(health: dict[str, bool], good: set[str]) -> None:
    async def main() -> None:
        runner = await serve_http(metrics_app(PrometheusRecorder(), lambda: health), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as client:
            for name in ("livez", "readyz", "healthz"):
                async with client.get(f"{url}/{name}") as got:
                    assert got.status == (200 if name in good else 503)
                    assert await got.json() == health | {"ok": name in good}
        await runner.cleanup()

    asyncio.run(main())


def test_a_metric_that_is_not_listed_is_an_error() -> None:
    with pytest.raises(KeyError):
        PrometheusRecorder().add("sekimori_surprises_total")
