package sqltext

// effect is what the name of a function tells about it, as bits.
type effect uint8

const (
	// bound: its answer or effect depends on the connection or on the extent of the transaction. A statement that calls it
	// may not share a transaction.
	bound effect = 1 << iota
	// writes: a SELECT that calls it is not surely read-only.
	writes
	// sticks: it changes the session.
	sticks
)

const longestFunction = 32

// pragmaSynchronous is a table of SQLite's that may be called as a function: the connection's level of synchronous, which a group
// may lower while it runs.
const pragmaSynchronous = "pragma_synchronous"

// effectOf looks a function up by its name in any letter case.
func effectOf(name string) effect {
	// The longest prefixes that matter are shorter than the buffer, and no whole name is as long.
	var buf [longestFunction]byte
	n := copy(buf[:], name)
	for i, c := range buf[:n] {
		if 'A' <= c && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	b := buf[:n]
	switch string(b) {
	case "last_insert_rowid", "changes", "total_changes", pragmaSynchronous, // SQLite
		"currval", "lastval", // PostgreSQL
		"last_insert_id", "row_count", "found_rows", // MySQL
		"scope_identity": // SQL Server
		return bound
	case "nextval":
		return writes
	case "setval", "loread", "lowrite", "pg_notify", "pg_export_snapshot":
		return bound | writes
	case "set_config", "setseed", "load_extension",
		"get_lock", "release_lock", "release_all_locks":
		return bound | writes | sticks
	}
	switch {
	case hasPrefix(b, "pg_advisory_xact"), hasPrefix(b, "pg_try_advisory_xact"):
		return bound | writes
	case hasPrefix(b, "pg_advisory"), hasPrefix(b, "pg_try_advisory"):
		return bound | writes | sticks
	case hasPrefix(b, "dblink_connect"):
		return bound | writes | sticks
	case hasPrefix(b, "dblink"), hasPrefix(b, "lo_"),
		hasPrefix(b, "txid_current"), hasPrefix(b, "pg_current_xact_id"):
		return bound | writes
	}
	return 0
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}
