package sqltext

import "strings"

// noteControl notes, for a text that is one statement of transaction control, whether it is Tentative or a Savepoint. A
// comment does not change what the words mean, because the lexer reads them.
func (st *Statement) noteControl(d Dialect, query string) {
	s := newScanner(d, query)
	for s.tok.kind == ';' {
		s.advance()
	}
	var words []string
	for ; !s.done(); s.advance() {
		words = append(words, strings.ToUpper(query[s.tok.start:s.tok.stop]))
	}
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "BEGIN":
		st.Tentative = true
		for _, w := range words[1:] {
			st.Tentative = st.Tentative && (w == "TRANSACTION" || w == "DEFERRED")
		}
	case "COMMIT", "END":
		st.Tentative = true
	case "SAVEPOINT", "RELEASE":
		st.Tentative, st.Savepoint = true, len(words) > 1
	case "ROLLBACK":
		st.Tentative = true
		for _, w := range words[1:] {
			st.Savepoint = st.Savepoint || w == "TO"
		}
	}
}
