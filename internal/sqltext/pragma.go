package sqltext

import "strings"

// explain reads SQLite's EXPLAIN [QUERY PLAN], which does not run its statement. But some PRAGMAs already run when they are
// compiled.
func (s *scanner) explain() Class {
	s.advance()
	if s.tok.kw == kwQuery && s.peek.kw == kwPlan {
		s.advance()
		s.advance()
	}
	switch {
	case s.done():
		return Unknown
	case s.tok.kw == kwPragma:
		return s.pragma()
	case s.tok.kw == kwCreate:
		s.create()
	}
	s.rest()
	s.effects, s.noRead, s.sticky = 0, false, false
	return Read
}

// pragma reads SQLite's PRAGMA [schema.]name [= value | (value)].
func (s *scanner) pragma() Class {
	s.advance()
	schema, name := "", strings.ToLower(s.name())
	if s.peek.kind == '.' {
		s.advance()
		s.advance()
		schema, name = name, strings.ToLower(s.name())
	}
	if name == "" {
		return Session
	}
	kind := pragmas[name]
	s.advance()
	if s.done() {
		switch kind {
		case reader, setting, passing, persistent:
			return Read
		}
		return Unknown
	}

	value, ok := s.value()
	switch {
	case !ok:
		return Session
	case kind == reader:
		return Read
	case schema == "temp":
		return Session
	case kind == persistent, kind == action:
		return Unknown
	case schema != "" && schema != "main":
		return Session // of a database that is attached to this connection
	case name == "journal_mode":
		s.setting = name
		if strings.EqualFold(value, "wal") || strings.EqualFold(value, "delete") {
			s.inFile = true
			return Unknown
		}
	case kind == setting:
		s.setting = name
		if schema != "" {
			s.setting = schema + "." + name
		}
	}
	return Session
}

// value reads the value of a PRAGMA. ok says that the statement ends behind it.
func (s *scanner) value() (value string, ok bool) {
	closing := false
	switch s.tok.kind {
	case '=':
	case '(':
		closing = true
	default:
		return "", false
	}
	s.advance()
	if s.tok.kind == '-' || s.tok.kind == '+' {
		s.advance()
	}
	value = s.name()
	s.advance()
	if closing {
		if s.tok.kind != ')' {
			return "", false
		}
		s.advance()
	}
	return value, s.done()
}

// A Setting is a PRAGMA that sets a value for its session, and that can be set for other sessions, too.
type Setting struct {
	Name string // in lower case, behind its schema if that is given
	Text string // the whole statement
	// InFile says that the value is in the file, which sets it for every session that has not set another. Its statement
	// need not be of class Session.
	InFile bool
}

// Settings returns the settings that a text makes, in their order. only says that the text does nothing else to the session,
// and begins or ends no transaction.
func Settings(d Dialect, query string) (made []Setting, only bool) {
	if d != SQLite {
		return nil, false
	}
	s := newScanner(d, query)
	only = true
	for s.tok.kind != end {
		if s.tok.kind == ';' {
			s.advance()
			continue
		}
		s.begin()
		start := s.tok.start
		switch class := s.statement(); {
		case s.setting != "":
			made = append(made, Setting{s.setting, query[start:s.tok.start], s.inFile})
		case class == Control, class == Session:
			only = false
		}
	}
	return made, only && !s.torn && len(made) > 0
}

// pragmaKind is the effect of a PRAGMA without a value, and with one.
type pragmaKind uint8

const (
	strange    pragmaKind = iota // not known; a value counts as the session's
	reader                       // only reads, whatever its argument
	setting                      // reads; with a value, sets it for the session
	passing                      // reads; with a value, sets it for the session's next transaction, or for no other session
	persistent                   // reads; with a value, sets it in the file
	action                       // changes the file
)

var pragmas = map[string]pragmaKind{
	"collation_list":    reader,
	"compile_options":   reader,
	"data_version":      reader,
	"database_list":     reader,
	"foreign_key_check": reader,
	"foreign_key_list":  reader,
	"freelist_count":    reader,
	"function_list":     reader,
	"index_info":        reader,
	"index_list":        reader,
	"index_xinfo":       reader,
	"integrity_check":   reader,
	"module_list":       reader,
	"page_count":        reader,
	"pragma_list":       reader,
	"quick_check":       reader,
	"table_info":        reader,
	"table_list":        reader,
	"table_xinfo":       reader,

	"analysis_limit":            setting,
	"automatic_index":           setting,
	"busy_timeout":              setting,
	"cache_size":                setting,
	"cache_spill":               setting,
	"case_sensitive_like":       setting,
	"cell_size_check":           setting,
	"checkpoint_fullfsync":      setting,
	"default_cache_size":        passing,
	"defer_foreign_keys":        passing,
	"foreign_keys":              setting,
	"fullfsync":                 setting,
	"hard_heap_limit":           setting,
	"ignore_check_constraints":  setting,
	"journal_mode":              setting, // but WAL and DELETE are set in the file
	"journal_size_limit":        setting,
	"legacy_alter_table":        setting,
	"locking_mode":              setting,
	"max_page_count":            setting,
	"mmap_size":                 setting,
	"query_only":                setting,
	"read_uncommitted":          setting,
	"recursive_triggers":        setting,
	"reverse_unordered_selects": setting,
	"schema_version":            passing,
	"secure_delete":             setting,
	"soft_heap_limit":           setting,
	"synchronous":               setting,
	"temp_store":                setting,
	"threads":                   setting,
	"trusted_schema":            setting,
	"wal_autocheckpoint":        setting,
	"writable_schema":           passing,

	"application_id": persistent,
	"auto_vacuum":    persistent,
	"encoding":       persistent,
	"page_size":      persistent,
	"user_version":   persistent,

	"incremental_vacuum": action,
	"optimize":           action,
	"wal_checkpoint":     action,
}
