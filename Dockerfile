# The command `sekimori` with every job. Nothing runs as root, nothing is fetched without its hash.
FROM python:3.12.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock requirements.runtime.lock ./
RUN python -m venv /opt/sekimori \
 && /opt/sekimori/bin/pip install --no-cache-dir --require-hashes -r requirements.runtime.lock \
 && pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY pipeline pipeline
COPY jobs jobs
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/sekimori/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.12.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/sekimori --create-home sekimori
COPY --from=build /opt/sekimori /opt/sekimori
ENV PATH=/opt/sekimori/bin:$PATH PYTHONUNBUFFERED=1
USER sekimori
WORKDIR /var/lib/sekimori
VOLUME /var/lib/sekimori
ENTRYPOINT ["sekimori"]
CMD ["--help"]
