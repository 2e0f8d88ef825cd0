"""The schema as Postgres sees it, in words that can be compared. As a program: renews tests/storage/schema.txt."""

import asyncio
from pathlib import Path

import asyncpg

SNAPSHOT = Path(__file__).with_name("schema.txt")

# Day partitions come and go with the calendar.
_DAY = r"_\d{8}"
_TABLES = """
    SELECT c.oid, c.relname AS name, c.relkind::text AS kind, c.reloptions AS options,
           pg_get_partkeydef(c.oid) AS partitioned
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'treadle' AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relname !~ $1
    ORDER BY c.relname
"""
_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
           a.attidentity::text AS identity, pg_get_expr(d.adbin, d.adrelid) AS value
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attname
"""
_INDEXES = "SELECT pg_get_indexdef(indexrelid) AS text FROM pg_index WHERE indrelid = $1 ORDER BY 1"
_CHECKS = "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conrelid = $1 AND contype = 'c' ORDER BY 1"
_SEQUENCES = """
    SELECT sequencename, data_type::text AS type, start_value, increment_by
    FROM pg_sequences WHERE schemaname = 'treadle' ORDER BY 1
"""
_FUNCTIONS = """
    SELECT pg_get_functiondef(p.oid) AS text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'treadle' ORDER BY 1
"""
_TRIGGERS = """
    SELECT pg_get_triggerdef(t.oid) AS text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'treadle' AND NOT t.tgisinternal AND c.relname !~ $1 ORDER BY 1
"""


async def schema_facts(url: str) -> str:
    """Tables, columns, keys, indexes, sequences and code of our schema, one fact a line."""
    conn = await asyncpg.connect(url)
    try:
        lines = []
        for table in await conn.fetch(_TABLES, _DAY):
            partitioned = f" partitioned by {table['partitioned']}" if table["partitioned"] else ""
            lines.append(f"{table['kind']} {table['name']}{partitioned}")
            lines += [f"    with {option}" for option in sorted(table["options"] or ())]
            for column in await conn.fetch(_COLUMNS, table["oid"]):
                parts = [column["name"], column["type"], "not null" if column["required"] else ""]
                parts += ["identity" if column["identity"] else "", column["value"] or ""]
                lines.append("    " + " ".join(part for part in parts if part))
            lines += [f"    {row['text']}" for row in await conn.fetch(_INDEXES, table["oid"])]
            lines += [f"    {row['text']}" for row in await conn.fetch(_CHECKS, table["oid"])]
        for row in await conn.fetch(_SEQUENCES):
            lines.append(f"sequence {row[0]} {row['type']} from {row['start_value']} by {row['increment_by']}")
        lines += [row["text"] for row in await conn.fetch(_FUNCTIONS)]
        lines += [row["text"] for row in await conn.fetch(_TRIGGERS, _DAY)]
    finally:
        await conn.close()
    return "\n".join(lines) + "\n"


def main() -> None:
    from treadle.storage.migrate import migrate
    from treadle.testing.postgres import TemporaryPostgres

    with TemporaryPostgres() as server:
        asyncio.run(migrate(server.url))
        SNAPSHOT.write_text(asyncio.run(schema_facts(server.url)))


if __name__ == "__main__":
    main()
