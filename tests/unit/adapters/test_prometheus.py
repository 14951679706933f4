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


def test_a_metric_that_is_not_listed_is_an_error() -> None:
    with pytest.raises(KeyError):
        PrometheusRecorder().add("sekimori_surprises_total")
