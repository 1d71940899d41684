package difftest

import (
	"database/sql"
	"fmt"
	"strings"
)

// Rows returns what makes a text of the answer to a query: the rows, or the first of them, with all that is known of the
// columns, and the errors. Two answers are the same to a program if their texts are.
func Rows(first bool, errorText func(error) string, value func(any) string) func(*sql.Rows, error) string {
	return func(rows *sql.Rows, err error) string {
		if err != nil {
			return errorText(err)
		}
		defer rows.Close()
		var b strings.Builder
		types, err := rows.ColumnTypes()
		b.WriteString(errorText(err))
		for _, c := range types {
			null, nullKnown := c.Nullable()
			length, lengthKnown := c.Length()
			precision, scale, decimal := c.DecimalSize()
			fmt.Fprintf(&b, " | %s %s %v %v %v %v %v %v %v %v", c.Name(), c.DatabaseTypeName(), c.ScanType(),
				null, nullKnown, length, lengthKnown, precision, scale, decimal)
		}
		for rows.Next() {
			values := make([]any, len(types))
			dest := make([]any, len(types))
			for i := range dest {
				dest[i] = &values[i]
			}
			if err := rows.Scan(dest...); err != nil {
				return b.String() + errorText(err)
			}
			b.WriteString("\n    ")
			for _, v := range values {
				b.WriteString(value(v) + " ")
			}
			if first {
				return b.String() + "\n    " + errorText(rows.Close())
			}
		}
		fmt.Fprintf(&b, "\n    %s %v", errorText(rows.Err()), rows.NextResultSet())
		return b.String()
	}
}
