// Appended to a page by ci/browser. When the page is drawn, it writes into the page what a reader would see of it, and
// a line `fault: …` for each thing that is wrong.
addEventListener('load', () => {
    const said = [];
    const fault = (what) => said.push(`fault: ${what}`);

    // colours
    const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const channels = (colour) => {
        probe.fillStyle = colour;
        probe.fillRect(0, 0, 1, 1);
        return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (colour) => {
        const parts = channels(colour).map((value) => value / 255);
        const [r, g, b] = parts.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
    const sheet = document.querySelector('svg > rect.paper');
    const paper = sheet ? getComputedStyle(sheet).fill : getComputedStyle(document.body).backgroundColor;
    if ((luminance(paper) < 0.2) !== isDark) {
        fault(`the paper is ${paper}, and the scheme ${isDark ? 'dark' : 'light'}`);
    }
    const seen = new Map();
    const stands = (element, colour, least) => {
        const key = `${colour} ${least}`;
        if (!seen.has(key)) {
            seen.set(key, contrast(colour, paper));
            if (seen.get(key) < least) {
                const ratio = seen.get(key).toFixed(1);
                fault(`${element.tagName} ${element.getAttribute('class')} is ${colour} on ${paper}: ${ratio}`);
            }
        }
    };

    // plots
    const plots = [...document.querySelectorAll('svg')];
    let marks = 0, texts = 0;
    for (const plot of plots) {
        const name = plot.getAttribute('aria-label') ?? plot.querySelector('title')?.textContent;
        const frame = plot.getBoundingClientRect();
        if (frame.width < 100 || frame.height < 30) {
            fault(`${name}: the plot is ${frame.width} × ${frame.height} pixels`);
        }
        const isInside = (box) => box.left >= frame.left - 1 && box.right <= frame.right + 1
            && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
        let own = 0;
        for (const mark of plot.querySelectorAll('circle, polyline, line.range')) {
            const box = mark.getBoundingClientRect();
            const {stroke, display, visibility} = getComputedStyle(mark);
            if (display === 'none' || visibility !== 'visible' || Math.max(box.width, box.height) < 1) {
                // a range without an extent is a dot
                if (!mark.matches('line.range') || display === 'none') {
                    fault(`${name}: a ${mark.tagName} is not drawn`);
                }
                continue;
            }
            if (!isInside(box)) {
                fault(`${name}: a ${mark.tagName} is outside the plot`);
            }
            stands(mark, stroke, 3);
            own += 1;
        }
        if (own === 0) {
            fault(`${name}: nothing is drawn`);
        }
        marks += own;
        const labels = [...plot.querySelectorAll('text')].filter((text) => text.textContent !== '');
        const boxes = labels.map((text) => text.getBoundingClientRect());
        labels.forEach((text, index) => {
            const box = boxes[index];
            if (box.width < 1 || !isInside(box)) {
                fault(`${name}: the text "${text.textContent}" is cut`);
            }
            stands(text, getComputedStyle(text).fill, 4.5);
            const over = boxes.findIndex((other, place) => place > index
                && box.left < other.right - 1 && other.left < box.right - 1
                && box.top < other.bottom - 3 && other.top < box.bottom - 3);
            if (over >= 0) {
                fault(`${name}: the text "${text.textContent}" is over "${labels[over].textContent}"`);
            }
        });
        texts += labels.length;
    }
    if (plots.length === 0) {
        fault('there is no plot');
    }

    // the rest
    for (const text of document.querySelectorAll('h1, h2, h3, p, dt, dd, th, td, summary')) {
        stands(text, getComputedStyle(text).color, 4.5);
    }
    if (document.documentElement.scrollWidth > innerWidth) {
        fault(`the page is ${document.documentElement.scrollWidth} pixels wide, and the window ${innerWidth}`);
    }
    const loaded = performance.getEntriesByType('resource').map((entry) => entry.name);
    if (loaded.length > 0) {
        fault(`the page loads ${loaded.join(', ')}`);
    }
    said.push(`seen: ${plots.length} plots, ${marks} marks, ${texts} texts, ${isDark ? 'dark' : 'light'}`);
    const report = document.createElement('pre');
    report.id = 'seen';
    report.textContent = `\n${said.join('\n')}\n`;
    document.body.append(report);
});
