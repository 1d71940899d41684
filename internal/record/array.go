package record

import (
	"encoding/binary"
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

// byteaArray is the text form of a bytea[].
func byteaArray(elements []durable.Key) []byte {
	escaped := make([]string, len(elements))
	for i, e := range elements {
		escaped[i] = `\x` + hex.EncodeToString([]byte(e))
	}
	return array(escaped)
}

// PostgreSQL's numbers of types, which it never changes.
const (
	byteaOID = 17
	textOID  = 25
)

// binaryArray is the binary form of an array of a type whose binary form is its bytes. An array has one dimension, unless it is
// empty.
func binaryArray[T ~string](oid uint32, elements []T) []byte {
	size := 20
	for _, e := range elements {
		size += 4 + len(e)
	}
	b := make([]byte, 0, size)
	put := binary.BigEndian.AppendUint32
	if len(elements) == 0 {
		return put(put(put(b, 0), 0), oid)
	}
	b = put(put(put(b, 1), 0), oid)           // no element is NULL
	b = put(put(b, uint32(len(elements))), 1) // counted from 1
	for _, e := range elements {
		b = append(put(b, uint32(len(e))), e...)
	}
	return b
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

func bytesLiteral(b []byte) string { return "decode(" + hexLiteral(b) + ", 'hex')" }

func hexLiteral(b []byte) string { return "'" + hex.EncodeToString(b) + "'" }
