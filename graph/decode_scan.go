package graph

// scan looks at a body once before it is parsed, for what a JSON parser lets
// pass: nesting deeper than the limit, and escaped NULs, which end a string
// early in many a bot's language. It knows only strings and brackets; all else
// is the parser's to refuse.
func scan(body []byte, depth int) error {
	open := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if open++; open > depth {
				return malformed("it is nested too deeply")
			}
		case '}', ']':
			open--
		case '"':
			end, ok := scanString(body, i+1)
			if !ok {
				return malformed("a string holds a NUL or has no end")
			}
			i = end
		}
	}
	return nil
}

// scanString returns the index of the quote that ends the string at i.
func scanString(body []byte, i int) (int, bool) {
	for ; i < len(body); i++ {
		switch body[i] {
		case '"':
			return i, true
		case 0:
			return 0, false
		case '\\':
			if i+5 < len(body) && string(body[i+1:i+6]) == "u0000" {
				return 0, false
			}
			i++
		}
	}
	return 0, false
}
