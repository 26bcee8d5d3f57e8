# One image for Airflow, MLflow and the prediction service; docker-compose.yaml says which it is.
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 1000 trimtab \
    && install -d -o trimtab -g trimtab -m 700 /var/lib/trimtab \
    && pip install --no-cache-dir uv==0.13.9

WORKDIR /opt/trimtab
ENV PATH=/opt/trimtab/.venv/bin:$PATH UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1

# Libraries first: they change less often than the code.
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --frozen --all-extras --no-dev --no-install-project

COPY plugins plugins
COPY dags dags
COPY include include
RUN uv sync --frozen --all-extras --no-dev

USER trimtab
VOLUME /var/lib/trimtab
