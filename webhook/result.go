package webhook

import (
	"net/http"

	"tandem/ownership"
)

// refusal is one of the fixed answers of this door. None holds a byte of the
// request.
type refusal struct {
	status int
	code   string
	text   string
}

// The refusals. 503 means "repeat it", as the cloud does after 5xx; 4xx means
// that repeating is useless.
var (
	refuseNotFound    = refusal{http.StatusNotFound, "not_found", "There is nothing here."}
	refuseMethod      = refusal{http.StatusMethodNotAllowed, "method_not_allowed", "Notifications come as POST."}
	refuseGet         = refusal{http.StatusMethodNotAllowed, "redirect_followed_as_get", "Notifications come as POST. If a notification was redirected here, the client has followed the redirect (302) as a GET and lost its body; use one that repeats the POST, or set redirect.status to 307."}
	refuseType        = refusal{http.StatusUnsupportedMediaType, "unsupported_media_type", "Notifications come as application/json in UTF-8."}
	refuseHandshake   = refusal{http.StatusUnsupportedMediaType, "subscription_handshake", "This looks like the handshake of a Graph change notification (validationToken). This door takes the notifications of calls only."}
	refuseEncoding    = refusal{http.StatusUnsupportedMediaType, "unsupported_content_encoding", "Notifications come without a content encoding."}
	refuseTooLarge    = refusal{http.StatusRequestEntityTooLarge, "too_large", "The body is larger than this door takes."}
	refuseTooMany     = refusal{http.StatusRequestEntityTooLarge, "too_many_notifications", "The body holds more notifications than this door takes."}
	refuseToken       = refusal{http.StatusUnauthorized, "invalid_token", "The request carries no valid token."}
	refuseOtherApp    = refusal{http.StatusServiceUnavailable, "call_of_another_app", "The call was claimed for another app and is not answered."}
	refuseTenant      = refusal{http.StatusForbidden, "tenant_not_allowed", "The app does not take calls of this tenant."}
	refuseTokenLater  = refusal{http.StatusServiceUnavailable, "token_not_checkable", "The token cannot be checked right now."}
	refuseAttempts    = refusal{http.StatusServiceUnavailable, "too_many_refused", "Too many requests without a valid token came from there."}
	refuseUnreadable  = refusal{http.StatusBadRequest, "unreadable_body", "The body could not be read to its end."}
	refuseMalformed   = refusal{http.StatusBadRequest, "malformed_notification", "The body is no notification."}
	refuseBusy        = refusal{http.StatusServiceUnavailable, "busy", "Too many requests are in progress."}
	refuseFull        = refusal{http.StatusServiceUnavailable, "full", "No node can take another call right now."}
	refuseNoBot       = refusal{http.StatusServiceUnavailable, "no_bot", "No bot of the app can take another call right now."}
	refuseBehind      = refusal{http.StatusServiceUnavailable, "not_caught_up", "This node cannot tell right now whether the call is known."}
	refuseNoLeader    = refusal{http.StatusServiceUnavailable, "no_leader", "Calls cannot be placed right now."}
	refuseClaim       = refusal{http.StatusServiceUnavailable, "not_placed", "The call could not be placed right now."}
	refuseResidency   = refusal{http.StatusServiceUnavailable, "region_down", "The region that must handle this call cannot be reached right now."}
	refuseNoLease     = refusal{http.StatusServiceUnavailable, "no_lease", "The owner of this call may not act right now."}
	refuseNoOwner     = refusal{http.StatusServiceUnavailable, "no_owner", "The owner of this call is not known right now."}
	refuseFutureEpoch = refusal{http.StatusServiceUnavailable, "future_epoch", "This node does not know that state of the partition yet."}
	refuseRelay       = refusal{http.StatusServiceUnavailable, "owner_unreachable", "The owner of this call could not be reached."}
	refusePartly      = refusal{http.StatusServiceUnavailable, "partly_handled", "Some notifications of the body could not be handled."}
	refuseBot         = refusal{http.StatusServiceUnavailable, "bot_unavailable", "The bot did not take the notification."}
	refuseBadReply    = refusal{http.StatusBadGateway, "bad_bot_reply", "The bot gave a reply that cannot be passed on."}
	refuseCrash       = refusal{http.StatusInternalServerError, "internal", "Something went wrong here."}
)

// outcome is what became of a request, for metrics and logs.
type outcome string

const (
	outcomeHandshake      outcome = "handshake"
	outcomeHandled        outcome = "handled"
	outcomeIgnored        outcome = "ignored"
	outcomeRelayed        outcome = "relayed"
	outcomeSeveral        outcome = "several"
	outcomeRegionRedirect outcome = "region_redirect"
	outcomeRegionRelayed  outcome = "region_relayed"
	outcomeNodeRedirect   outcome = "node_redirect"
)

// outcomes lists all outcomes that are no refusal.
var outcomes = []outcome{
	outcomeHandshake, outcomeHandled, outcomeIgnored, outcomeRelayed, outcomeSeveral,
	outcomeRegionRedirect, outcomeRegionRelayed, outcomeNodeRedirect,
}

// refusals lists all refusals.
var refusals = []refusal{
	refuseNotFound, refuseMethod, refuseGet, refuseType, refuseHandshake, refuseEncoding, refuseTooLarge, refuseTooMany,
	refuseToken, refuseOtherApp, refuseTenant, refuseTokenLater, refuseAttempts, refuseUnreadable, refuseMalformed, refuseBusy, refuseFull,
	refuseNoBot, refuseBehind, refuseNoLeader, refuseClaim, refuseResidency, refuseNoLease, refuseNoOwner, refuseFutureEpoch, refuseRelay,
	refusePartly, refuseBot, refuseBadReply, refuseCrash,
}

// result is the answer to a request, before it is written.
type result struct {
	status   int
	outcome  outcome
	refused  *refusal         // the answer is this error
	location string           // of a redirect
	reply    *ownership.Reply // the bot's own answer
	cause    error            // for the log only
}

func refused(r refusal, cause error) result {
	return result{status: r.status, outcome: outcome(r.code), refused: &r, cause: cause}
}

func accepted(o outcome) result { return result{status: http.StatusAccepted, outcome: o} }
