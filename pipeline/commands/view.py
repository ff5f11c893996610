"""`dreambatch view`."""

from dataclasses import dataclass

from pipeline import exit_codes


@dataclass(frozen=True, kw_only=True)
class View:
    """Open one asset in a browser: mesh, cameras with their pictures, field. Needs the extra
    `view`."""

    output: str
    """Directory of the dataset."""
    asset: str
    """Its asset_id, its prompt_id, or first digits of its asset_id."""
    port: int = 8080
    """Port on this machine, or the next one that is free."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import view
        from pipeline.store import Store

        store = Store.open(self.output, create=False)
        server = view.serve(store, self.asset, port=self.port)
        try:
            print(f"http://{view.HOST}:{server.get_port()} (Ctrl-C ends it)", flush=True)
            server.sleep_forever()
        except KeyboardInterrupt:
            print("closed")
        finally:
            view.stop(server)
        return exit_codes.COMPLETE
