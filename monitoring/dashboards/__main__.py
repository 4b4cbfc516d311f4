"""`python -m monitoring.dashboards`: write the dashboards' files anew."""

from monitoring.dashboards.generated import FOLDER, files

FOLDER.mkdir(parents=True, exist_ok=True)
for name, text in files().items():
    (FOLDER / name).write_text(text)
