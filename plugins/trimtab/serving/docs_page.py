"""The page that shows the API: Swagger UI, from the package fastapi-offline where that is installed."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"


def bundled_assets() -> Path | None:
    """Folder of Swagger UI's files on this machine; None: the page takes them from a public CDN."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "static"
    return folder if (folder / SCRIPT).is_file() else None


def add_docs(app: FastAPI, assets: Path | None) -> None:
    """Serve `/docs`; with `assets` the page needs nothing from elsewhere."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # With the document inside, a browser may open the page by an address that holds the token.
        inside = {"spec": app.openapi()}
        if assets is None:
            return get_swagger_ui_html(openapi_url="openapi.json", title=app.title, swagger_ui_parameters=inside)
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"docs/{SCRIPT}",
            swagger_css_url=f"docs/{STYLE}",
            swagger_favicon_url=f"docs/{ICON}",
            swagger_ui_parameters=inside,
        )

    @app.get("/docs/{name}", include_in_schema=False)
    async def asset(name: str) -> FileResponse:
        if assets is None or name not in (SCRIPT, STYLE, ICON):
            raise HTTPException(404)
        return FileResponse(assets / name)
