"""Prints a person's rows, oldest first: plain SQL, as the database's user `reader`.

pip install "psycopg[binary]"
FELTSENSE_DATABASE_URL=postgresql://... python read.py u-17
"""

import os
import sys

import psycopg
from psycopg.rows import dict_row

QUERY = """
    SELECT created_at, valence, arousal, invoked, expressed, willingness, congruence, comparator, risk_level
    FROM current_perceptions WHERE user_id = %s ORDER BY created_at
"""

with psycopg.connect(os.environ["FELTSENSE_DATABASE_URL"], row_factory=dict_row) as connection:
    for row in connection.execute(QUERY, (sys.argv[1],)):
        felt = " > ".join(row["invoked"]) or "(abstains)"
        when = f"{row['created_at']:%Y-%m-%d %H:%M}"
        print(f"{when}  valence {row['valence']:.2f}  {felt}  risk {row['risk_level']}")
