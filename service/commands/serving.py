"""`isophote serve`: answer over HTTP, and show the page."""

import signal
from contextlib import suppress
from typing import Any

import click

from service.commands.options import (
    collection_option,
    device_option,
    settings_from,
    threads_option,
)
from service.commands.signals import stop_like_ctrl_c


@click.command()
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address to listen at; 0.0.0.0 for all of this machine, :: for all of IPv6. Where others "
    "can reach it a token is needed, and made if none is given.  [default: 127.0.0.1]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen at; 0 takes one that is free.  [default: 8489]",
)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="ISOPHOTE_TOKEN",
    help="Ask for this token, of at least 16 characters. Better given as ISOPHOTE_TOKEN: other "
    "users of this machine can see options.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer when called by this name too, as that of a proxy; may be repeated.",
)
@click.option(
    "--allow-changes",
    "allows_changes",
    is_flag=True,
    help="Let duplicates be moved to the trash, and brought back, from the page.",
)
@click.option(
    "--thumbnail-cache-mb",
    type=click.IntRange(min=1),
    help="Megabytes of thumbnails to keep on disk.  [default: 1000]",
)
@collection_option
@threads_option
@device_option
def serve(collection: str | None, threads: int | None, device: str | None, **given: Any) -> None:
    """Show a collection in the browser, and answer over HTTP.

    \b
    isophote serve
    isophote serve --port 8080 -c ./holiday.isophote --allow-changes
    isophote serve --host 0.0.0.0
    """
    from service.web.app import build_app
    from service.web.options import ServingOptions, checked_options
    from service.web.serving import serve as serve_app

    stop_like_ctrl_c(signal.SIGTERM)
    settings = settings_from(collection=collection, threads=threads, device=device)
    chosen = ServingOptions(**{key: value for key, value in given.items() if value is not None})
    options = checked_options(chosen)
    app = build_app(settings, options)

    def announce(url: str) -> None:
        click.echo(f"Isophote serves {settings.collection} at {url} (Ctrl-C ends it)")
        if options.token != chosen.token:
            # Behind a "#": browsers do not send it, so it gets into no log of a proxy.
            click.echo(f"Open {url}/login#token={options.token}, or enter the token there.")

    # A shell starts background jobs with Ctrl-C ignored: the server stops, and nothing is raised.
    with suppress(KeyboardInterrupt):
        serve_app(app, host=options.host, port=options.port, on_listening=announce)
    click.echo("Stopped serving.", err=True)
