"""Writes the golden file of version 1: run it once, and never again after a change of the tables."""

import sqlite3
from pathlib import Path

TABLES = """
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  user TEXT NOT NULL,
  item TEXT NOT NULL,
  domain TEXT NOT NULL,
  time INTEGER NOT NULL
);
CREATE INDEX events_of_user ON events (user, time, id);
PRAGMA application_id = 0x49534556;
PRAGMA user_version = 1;
"""
ROWS = [("a", "u", "i", "x", 10), ("b", "u", "j", "é", 11), ("c", "v", "i", "x", 12)]
ROWS += [("d", "w", "k", "x", 9), ("e", "v", "i", "x", 13), ("f", "v", "i", "x", 14)]


def main() -> None:
    path = Path(__file__).parent / "golden" / "events-v1.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    connection.executemany("INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?)", ROWS)
    connection.execute("DELETE FROM events WHERE user = 'v'")
    connection.commit()
    connection.execute("VACUUM")
    connection.close()


if __name__ == "__main__":
    main()
