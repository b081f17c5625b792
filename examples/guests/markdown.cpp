// Turns the Markdown file named by the argument, or standard input, into HTML, with the headings
// sorted into an index at the end. C++17 without exceptions: std::string, std::map, std::sort.
//
// The subset: headings, paragraphs, lists, fenced code, `code`, *emphasis*, **strong**, links of
// both kinds, `[text](url)` and `[text][name]` with `[name]: url` anywhere in the file.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Links = std::map<std::string, std::string, std::less<>>;

struct Heading {
    int level;
    std::string text;
};

bool starts(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

void escape(std::string &out, std::string_view text) {
    for (char c : text) {
        if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (c == '&') out += "&amp;";
        else out += c;
    }
}

std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        size_t end = std::min(text.find('\n'), text.size());
        lines.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

// `[name]: url`
bool definition(std::string_view line, Links &links) {
    size_t end = line.find("]: ");
    if (!starts(line, "[") || end == std::string_view::npos) return false;
    links.emplace(line.substr(1, end - 1), line.substr(end + 3));
    return true;
}

void inline_html(std::string &out, std::string_view text, const Links &links);

// A link at the start of `text`; returns its length, or 0 where there is none.
size_t link(std::string &out, std::string_view text, const Links &links) {
    size_t close = text.find(']');
    if (close == std::string_view::npos || close + 1 >= text.size()) return 0;
    char open_target = text[close + 1], close_target = open_target == '(' ? ')' : ']';
    if (open_target != '(' && open_target != '[') return 0;
    size_t end = text.find(close_target, close + 2);
    if (end == std::string_view::npos) return 0;
    std::string_view target = text.substr(close + 2, end - close - 2);
    if (open_target == '[') {
        auto found = links.find(target);
        if (found == links.end()) return 0;
        target = found->second;
    }
    out += "<a href=\"";
    escape(out, target);
    out += "\">";
    inline_html(out, text.substr(1, close - 1), links);
    out += "</a>";
    return end + 1;
}

// Text between two equal marks at the start of `text`; returns the length of all three, or 0.
size_t marked(std::string &out, std::string_view text, std::string_view mark, const char *tag, const Links &links) {
    if (!starts(text, mark)) return 0;
    size_t end = text.find(mark, mark.size());
    if (end == std::string_view::npos || end == mark.size()) return 0;
    std::string_view content = text.substr(mark.size(), end - mark.size());
    out += std::string("<") + tag + ">";
    if (mark == "`") escape(out, content);
    else inline_html(out, content, links);
    out += std::string("</") + tag + ">";
    return end + mark.size();
}

void inline_html(std::string &out, std::string_view text, const Links &links) {
    while (!text.empty()) {
        size_t taken = marked(out, text, "`", "code", links);
        if (taken == 0) taken = marked(out, text, "**", "strong", links);
        if (taken == 0) taken = marked(out, text, "*", "em", links);
        if (taken == 0 && text[0] == '[') taken = link(out, text, links);
        if (taken == 0) {
            escape(out, text.substr(0, 1));
            taken = 1;
        }
        text.remove_prefix(taken);
    }
}

// Writes blocks one after another and closes what the next line ends.
class Page {
public:
    explicit Page(const Links &links) : links_(links) {}

    void line(std::string_view line) {
        if (starts(line, "```")) return fence();
        if (in_code_) {
            escape(out_, line);
            out_ += '\n';
            return;
        }
        size_t level = line.find_first_not_of('#');
        if (line.empty()) close();
        else if (level != std::string_view::npos && level > 0 && level < 7 && line[level] == ' ') heading(level, line.substr(level + 1));
        else if (starts(line, "- ")) item(line.substr(2));
        else text(line);
    }

    std::string finish() {
        close();
        if (headings_.empty()) return out_;
        std::sort(headings_.begin(), headings_.end(), [](const Heading &a, const Heading &b) { return a.text < b.text; });
        out_ += "<h2>Index</h2>\n<ul>\n";
        for (const Heading &heading : headings_) out_ += "<li>" + heading.text + " (" + std::to_string(heading.level) + ")</li>\n";
        return out_ + "</ul>\n";
    }

private:
    void fence() {
        if (!in_code_) close();
        out_ += in_code_ ? "</code></pre>\n" : "<pre><code>";
        in_code_ = !in_code_;
    }

    void heading(size_t level, std::string_view content) {
        close();
        std::string html, tag = "h" + std::to_string(level);
        inline_html(html, content, links_);
        out_ += "<" + tag + ">" + html + "</" + tag + ">\n";
        headings_.push_back({static_cast<int>(level), html});
    }

    void item(std::string_view content) {
        if (block_ != "ul") open("ul", "\n");
        out_ += "<li>";
        inline_html(out_, content, links_);
        out_ += "</li>\n";
    }

    void text(std::string_view line) {
        if (block_ == "p") out_ += '\n';
        else open("p", "");
        inline_html(out_, line, links_);
    }

    void open(const char *block, const char *after) {
        close();
        block_ = block;
        out_ += "<" + block_ + ">" + after;
    }

    void close() {
        if (!block_.empty()) out_ += "</" + block_ + ">\n";
        block_.clear();
    }

    const Links &links_;
    std::string out_, block_;
    std::vector<Heading> headings_;
    bool in_code_ = false;
};

bool read_all(FILE *file, std::string &text) {
    char buffer[4096];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0) text.append(buffer, count);
    return !ferror(file);
}

} // namespace

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : stdin;
    std::string text;
    if (file == nullptr || !read_all(file, text)) {
        fprintf(stderr, "markdown: %s: %s\n", argc > 1 ? argv[1] : "-", strerror(errno));
        return 1;
    }
    Links links;
    std::vector<std::string_view> lines = lines_of(text);
    lines.erase(std::remove_if(lines.begin(), lines.end(), [&](std::string_view line) { return definition(line, links); }), lines.end());
    Page page(links);
    for (std::string_view line : lines) page.line(line);
    std::string html = page.finish();
    fwrite(html.data(), 1, html.size(), stdout);
    return 0;
}
