# Reads photographs over HTTP, on the CPU, without PyTorch; docs/service.md tells how to use it.
#
#   docker build --tag dld-d2 .
#   docker run --rm --publish 8000:8000 --volume "$PWD/photo_onnx:/model:ro" dld-d2

FROM python:3.12-slim AS build
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY dld_d2 dld_d2
RUN python -m venv /opt/dld_d2 \
    && /opt/dld_d2/bin/pip install --no-cache-dir --disable-pip-version-check ".[serve]"

FROM python:3.12-slim
COPY --from=build /opt/dld_d2 /opt/dld_d2
ENV PATH=/opt/dld_d2/bin:$PATH \
    PYTHONUNBUFFERED=1
# It needs no rights: it writes nothing, and reads the folder of networks alone.
USER 65534:65534
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["dld-d2", "serve", "--model", "/model", "--host", "0.0.0.0", "--port", "8000"]
