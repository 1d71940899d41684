package record

import (
	"encoding/hex"
	"strconv"

	"github.com/groupcommit/groupcommit/durable"
)

// How arguments are written for PostgreSQL.

// array is the text form of a text[].
func array(elements []string) []byte {
	size := 2
	for _, e := range elements {
		size += len(e) + 3
	}
	b := append(make([]byte, 0, size), '{')
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		for j := range len(e) {
			if e[j] == '"' || e[j] == '\\' {
				b = append(b, '\\')
			}
			b = append(b, e[j])
		}
		b = append(b, '"')
	}
	return append(b, '}')
}

func textArray(elements []string) string { return string(array(elements)) }

// hexArray is the text form of a text[] whose elements are hexadecimal.
func hexArray[T ~string | ~[]byte](elements []T) []byte {
	size := 2
	for _, e := range elements {
		size += 2*len(e) + 3
	}
	b := append(make([]byte, 0, size), '{')
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"') // an empty element needs it
		b = hex.AppendEncode(b, []byte(e))
		b = append(b, '"')
	}
	return append(b, '}')
}

// hexOf is never nil, which would be NULL.
func hexOf(value []byte) []byte { return hex.AppendEncode([]byte{}, value) }

func number(s durable.State) []byte { return strconv.AppendInt(nil, int64(s), 10) }

// texts are arguments for database/sql, as strings: a []byte it would send as a bytea.
func texts(args [][]byte) []any {
	all := make([]any, len(args))
	for i, arg := range args {
		all[i] = string(arg)
	}
	return all
}

// Literals in a form that no setting reads differently.

func literal(text string) string {
	return "convert_from(decode('" + hex.EncodeToString([]byte(text)) + "', 'hex'), 'UTF8')"
}

func hexLiteral(b []byte) string { return "'" + hex.EncodeToString(b) + "'" }
