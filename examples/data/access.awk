# Prints the sample log: awk -f access.awk > access.log
#
# The same text on every machine: the only source of chance is a multiplicative generator whose
# products stay below 2^53, so that every awk computes it exactly.

function draw(n) {
    state = (state * 48271) % 2147483647
    return int(state / 65536) % n
}

function route(  kind) {
    kind = draw(100)
    if (kind < 30) return "/api/orders/" (1000 + draw(900))
    if (kind < 48) return "/api/products?page=" (1 + draw(40))
    if (kind < 60) return "/api/users/" (1 + draw(500)) "/cart"
    if (kind < 70) return "/static/app.css"
    if (kind < 79) return "/static/app.js"
    if (kind < 86) return "/api/login"
    if (kind < 92) return "/api/search?q=" substr("lampdeskchairrugshelf", 1 + draw(16), 4)
    if (kind < 96) return "/health"
    if (kind < 99) return "/api/reports/" (2020 + draw(7))
    return "/wp-admin/setup.php"
}

function method_of(path) {
    if (path ~ /login/) return "POST"
    if (path ~ /cart/ && draw(3) == 0) return "PUT"
    if (path ~ /orders/ && draw(4) == 0) return "POST"
    return "GET"
}

function duration_of(path,  ms) {
    if (path ~ /static|health/) return 1 + draw(9)
    ms = 8 + draw(70)
    if (path ~ /reports/) ms += 400 + draw(1400)
    if (path ~ /search/) ms += 60 + draw(200)
    if (draw(160) == 0) ms += 1500 + draw(4000)
    return ms
}

function status_of(path, ms) {
    if (path ~ /wp-admin/) return 404
    if (ms > 2500 && draw(2) == 0) return 504
    if (path ~ /api/ && draw(90) == 0) return 500
    if (path ~ /login/ && draw(6) == 0) return 401
    if (path ~ /orders/ && draw(25) == 0) return 404
    return 200
}

BEGIN {
    state = 20261123
    ms_of_day = 8 * 3600 * 1000
    for (line = 1; line <= 2400; line++) {
        ms_of_day += draw(4200)
        second = int(ms_of_day / 1000)
        path = route()
        method = method_of(path)
        duration = duration_of(path)
        status = status_of(path, duration)
        severity = "INFO"
        if (status >= 400 || duration > 1000) severity = "WARN"
        if (status >= 500) severity = "ERROR"
        size = 180 + draw(24000)
        if (status >= 400) size = 90 + draw(60)
        printf "2026-11-02T%02d:%02d:%02d.%03dZ %-5s req=%06x %s %s %d %dms %dB\n", int(second / 3600), \
            int(second / 60) % 60, second % 60, ms_of_day % 1000, severity, 40960 + line * 7, method, path, status, \
            duration, size
        if (draw(600) == 0) print "-- log rotated, 1 line lost --"
    }
}
