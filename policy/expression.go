package policy

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
)

// Bounds of one rule's expression. A rule stands in the way of every incoming
// call, so one that could take long is refused when it is read.
const (
	maxExpressionLen   = 64 << 10 // characters: room for a list of 1,500 tenants
	maxExpressionDepth = 64
	maxExpressionCost  = 50_000 // in CEL's units of work, about 10 ns each
	maxFactLen         = 1024   // longest fact that the estimate of the cost assumes
)

// expression is one compiled condition, or one text.
type expression struct {
	program cel.Program
}

// compileCondition reads one condition. Its errors name the position, not the rule.
func compileCondition(text string) (expression, error) {
	if strings.TrimSpace(text) == "" {
		return expression{}, errors.New(`its condition is empty (write "true" to match every call)`)
	}
	return compile(text, cel.BoolType)
}

// compileText reads one expression that gives a text.
func compileText(text string) (expression, error) { return compile(text, cel.StringType) }

func compile(text string, want *cel.Type) (expression, error) {
	env, err := language()
	if err != nil {
		return expression{}, fmt.Errorf("preparing the language: %w", err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return expression{}, positions(issues)
	}
	if t := checked.OutputType(); !t.IsExactType(want) {
		return expression{}, fmt.Errorf("it gives a value of type %s, wanted is %s", t, want)
	}
	cost, err := env.EstimateCost(checked, factSizes{})
	if err != nil {
		return expression{}, fmt.Errorf("estimating its cost: %w", err)
	}
	if cost.Max > maxExpressionCost {
		return expression{}, fmt.Errorf("it may cost %d units of work, allowed are %d: make it shorter or split it", cost.Max, maxExpressionCost)
	}
	program, err := env.Program(checked, cel.CostLimit(maxExpressionCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return expression{}, fmt.Errorf("preparing it: %w", err)
	}
	return expression{program: program}, nil
}

// matches evaluates the condition for one call.
func (x *expression) matches(f *Facts) (bool, error) {
	v, _, err := x.program.Eval(&section{of: callType, facts: f})
	if err != nil {
		return false, err
	}
	yes, ok := v.Value().(bool)
	return ok && yes, nil
}

// read evaluates the text for one call.
func (x *expression) read(f *Facts) (string, error) {
	v, _, err := x.program.Eval(&section{of: callType, facts: f})
	if err != nil {
		return "", err
	}
	text, _ := v.Value().(string)
	return text, nil
}

// positions puts CEL's findings in one sentence: line and column count from 1.
func positions(issues *cel.Issues) error {
	var b strings.Builder
	for i, e := range issues.Errors() {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, strings.ReplaceAll(e.Message, "\n", " "))
	}
	return errors.New(b.String())
}

// factSizes tells the estimate how long facts get.
type factSizes struct{}

// EstimateSize bounds the texts whose length only the call knows.
func (factSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate {
	return &checker.SizeEstimate{Max: maxFactLen}
}

// EstimateCallCost leaves the cost of functions to CEL.
func (factSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
